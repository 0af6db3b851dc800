use std::os::unix::fs::PermissionsExt;

use super::*;

/// A folder, a log in it, and a clock that only the test moves.
struct World {
    folder: tempfile::TempDir,
    log: LogFile,
    now: Instant,
    wall: SystemTime,
}

impl World {
    fn new(rotation: Rotation) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let now = Instant::now();
        let log = LogFile::open(&folder.path().join("t.log"), rotation, now).expect("a log");
        Self { folder, log, now, wall: SystemTime::now() }
    }

    fn write(&mut self, lines: &[&str]) -> Written {
        self.log.write(lines.iter().copied(), self.now, self.wall)
    }

    fn wait(&mut self, time: Duration) {
        self.now += time;
        self.wall += time;
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn text(&self, name: &str) -> Option<String> {
        fs::read_to_string(self.path(name)).ok()
    }

    fn names(&self) -> Vec<String> {
        let mut names: Vec<_> = fs::read_dir(self.folder.path())
            .expect("a folder")
            .map(|entry| entry.expect("an entry").file_name().into_string().expect("a name"))
            .collect();
        names.sort();
        names
    }
}

fn sized(max_bytes: u64, max_files: u32) -> Rotation {
    Rotation { max_bytes, max_files, max_age: Duration::ZERO }
}

#[test]
fn files_stay_within_their_size_and_number() {
    let mut world = World::new(sized(10, 2));
    for line in ["one", "two", "three", "four", "five", "six", "seven", "eight"] {
        let written = world.write(&[line]);
        assert!(written.error.is_none(), "{written:?}");
    }
    assert_eq!(world.names(), ["t.log", "t.log.1", "t.log.2"]);
    assert_eq!(world.text("t.log").as_deref(), Some("eight\n"));
    assert_eq!(world.text("t.log.1").as_deref(), Some("six\nseven\n"));
    assert_eq!(world.text("t.log.2").as_deref(), Some("four\nfive\n"));
}

#[test]
fn one_batch_is_spread_over_files_without_losing_a_line() {
    let mut world = World::new(sized(10, 9));
    let lines = ["1111", "2222", "3333", "4444", "5555"];
    assert_eq!(world.write(&lines).lost, 0);
    assert_eq!(world.text("t.log.2").as_deref(), Some("1111\n2222\n"));
    assert_eq!(world.text("t.log.1").as_deref(), Some("3333\n4444\n"));
    assert_eq!(world.text("t.log").as_deref(), Some("5555\n"));
}

#[test]
fn line_longer_than_the_limit_gets_a_file_of_its_own() {
    let mut world = World::new(sized(4, 9));
    assert_eq!(world.write(&["longer than four", "x"]).lost, 0);
    assert_eq!(world.text("t.log.1").as_deref(), Some("longer than four\n"));
    assert_eq!(world.text("t.log").as_deref(), Some("x\n"));
}

#[test]
fn lowered_number_of_files_removes_the_rest() {
    let mut world = World::new(sized(4, 1));
    for old in ["t.log.1", "t.log.2", "t.log.3"] {
        fs::write(world.path(old), old).expect("a file");
    }
    world.write(&["one", "two"]);
    assert_eq!(world.names(), ["t.log", "t.log.1"]);
}

#[test]
fn no_old_file_is_kept_where_none_is_wanted() {
    let mut world = World::new(sized(4, 0));
    world.write(&["one", "two"]);
    assert_eq!(world.names(), ["t.log"]);
    assert_eq!(world.text("t.log").as_deref(), Some("two\n"));
}

#[test]
fn old_file_is_changed_at_the_next_line() {
    let day = Duration::from_hours(24);
    let mut world = World::new(Rotation { max_age: day, ..Rotation::default() });
    world.write(&["one"]);
    world.wait(day / 2);
    world.write(&["two"]);
    assert_eq!(world.names(), ["t.log"]);
    world.wait(day);
    world.write(&["three"]);
    assert_eq!(world.text("t.log.1").as_deref(), Some("one\ntwo\n"));
    assert_eq!(world.text("t.log").as_deref(), Some("three\n"));
}

#[test]
fn second_process_is_locked_out_before_and_after_a_rotation() {
    let mut world = World::new(sized(4, 3));
    let second = |world: &World| LogFile::open(&world.path("t.log"), sized(4, 3), world.now);
    assert!(matches!(second(&world), Err(OpenError::Locked)));
    world.write(&["one", "two"]);
    assert!(matches!(second(&world), Err(OpenError::Locked)));
    let World { folder, log, now, .. } = world;
    drop(log);
    assert!(LogFile::open(&folder.path().join("t.log"), sized(4, 3), now).is_ok());
}

#[test]
fn file_moved_away_is_replaced_within_a_second_or_at_once_when_asked() {
    let mut world = World::new(Rotation::default());
    world.write(&["one"]);
    fs::rename(world.path("t.log"), world.path("moved")).expect("a move");
    world.wait(CHECK);
    world.write(&["two"]);
    assert_eq!(world.text("t.log").as_deref(), Some("two\n"));

    fs::rename(world.path("t.log"), world.path("moved")).expect("a move");
    world.log.reopen(world.now).expect("a file");
    world.write(&["three"]);
    assert_eq!(world.text("moved").as_deref(), Some("two\n"));
    assert_eq!(world.text("t.log").as_deref(), Some("three\n"));
}

#[test]
fn lost_folder_costs_lines_and_its_return_ends_that() {
    let mut world = World::new(Rotation::default());
    fs::remove_dir_all(world.folder.path()).expect("no folder");
    world.wait(CHECK);
    let written = world.write(&["one", "two"]);
    assert_eq!(written.lost, 2);
    assert!(written.error.is_some());

    fs::create_dir(world.folder.path()).expect("a folder");
    let written = world.write(&["three"]);
    assert_eq!((written.lost, world.text("t.log").as_deref()), (0, Some("three\n")));
}

#[test]
fn folder_closed_to_us_stops_rotation_but_not_the_log() {
    let mut world = World::new(sized(4, 3));
    // A folder in the place of the new file stops even root.
    fs::create_dir(world.path("t.log.new")).expect("a folder");
    let written = world.write(&["one", "two"]);
    assert!(written.error.is_some());
    assert_eq!(written.lost, 0);
    assert_eq!(world.text("t.log").as_deref(), Some("one\ntwo\n"));
    fs::remove_dir(world.path("t.log.new")).expect("no folder");
    assert!(world.write(&["three"]).error.is_none(), "not tried again at once");
    world.wait(RETRY);
    world.write(&["four"]);
    assert_eq!(world.text("t.log").as_deref(), Some("four\n"));
}

#[test]
fn full_disk_counts_each_line() {
    let now = Instant::now();
    let mut log = LogFile::open(Path::new("/dev/full"), sized(4, 3), now).expect("a device");
    let written = log.write(["one", "two", "three"], now, SystemTime::now());
    assert_eq!(written.lost, 3);
    assert_eq!(written.error.map(|error| error.kind()), Some(ErrorKind::StorageFull));
}

#[test]
fn line_is_lost_unless_its_last_byte_was_written() {
    let mut chunk = Chunk::default();
    ["one", "two"].iter().for_each(|line| chunk.push(line));
    assert_eq!([0, 3, 4, 7, 8].map(|done| chunk.lines_beyond(done)), [2, 2, 1, 1, 0]);
}

#[test]
fn torn_line_is_counted_and_does_not_spoil_the_next() {
    let mut world = World::new(Rotation::default());
    let current = world.log.file.as_mut().expect("a file");
    current.file.write_all(b"first\nsec").expect("a write");
    let (done, _) = current.tear(b"first\nsecond\n", 9, ErrorKind::StorageFull.into());
    assert_eq!(done, 9);
    world.write(&["third"]);
    assert_eq!(world.text("t.log").as_deref(), Some("first\nsec\nthird\n"));
}

#[test]
fn file_is_for_its_owner_and_group_only() {
    let world = World::new(Rotation::default());
    let mode = fs::metadata(world.path("t.log")).expect("a file").permissions().mode();
    assert_eq!(mode & 0o137, 0, "{mode:o}");
}

#[test]
fn link_to_a_file_elsewhere_is_kept() {
    let folder = tempfile::tempdir().expect("a folder");
    let far = tempfile::tempdir().expect("a folder");
    let link = folder.path().join("t.log");
    fs::write(far.path().join("real.log"), "").expect("a file");
    std::os::unix::fs::symlink(far.path().join("real.log"), &link).expect("a link");
    let now = Instant::now();
    let mut log = LogFile::open(&link, sized(4, 3), now).expect("a log");
    log.write(["one", "two"], now, SystemTime::now());
    assert!(fs::symlink_metadata(&link).expect("a link").is_symlink());
    assert_eq!(fs::read_to_string(far.path().join("real.log.1")).ok().as_deref(), Some("one\n"));
    assert_eq!(fs::read_to_string(&link).ok().as_deref(), Some("two\n"));
}
