//! The one thread that writes lines. A sink that fails costs lines, never a wait elsewhere.

use std::collections::VecDeque;
use std::io::{self, Write};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use super::layer::Lines;
use super::queue::{Queue, Work};
use super::rotate::{LogFile, Written};
use crate::code;

/// Runs until the queue is closed and empty.
pub(super) fn run(queue: &Arc<Queue>, lines: &Lines, mut writer: Writer) {
    // A panic must not leave others waiting for a writer that is gone.
    struct Finish<'a>(&'a Queue);
    impl Drop for Finish<'_> {
        fn drop(&mut self) {
            self.0.finish();
        }
    }
    let _finish = Finish(queue);
    loop {
        let mut work = queue.take(lines.deadline());
        let (last, now, wall) = (work.last, Instant::now(), SystemTime::now());
        work.lines.extend(lines.repeated(now, wall, last));
        if let Some(lost) = writer.handle_work(work, now, wall) {
            // Its own words go the way of all others, so they have the right format.
            crate::event::log_dropped(lost);
        }
        if last {
            break;
        }
    }
}

/// What the thread does, without the thread.
pub(crate) struct Writer {
    sink: Sink,
    /// Where we complain of the sink.
    complaints: Box<dyn Write + Send>,
    complained: Option<Instant>,
    /// Lines lost since a line was written last.
    lost: u64,
}

/// Where lines end.
pub(crate) enum Sink {
    File(Box<LogFile>),
    Stream(Box<dyn Write + Send>),
}

impl Writer {
    pub(crate) fn new(sink: Sink, complaints: Box<dyn Write + Send>) -> Self {
        Self { sink, complaints, complained: None, lost: 0 }
    }

    /// Does what is asked; the number of lines lost until now, once the sink takes lines again.
    pub(crate) fn handle_work(&mut self, work: Work, now: Instant, wall: SystemTime) -> Option<u64> {
        if let (true, Sink::File(file)) = (work.reopen, &mut self.sink)
            && let Err(error) = file.reopen(now)
        {
            self.complain(&error, now);
        }
        let lines = work.lines.len() as u64;
        let written = self.sink.write(work.lines, now, wall);
        self.lost += written.lost + work.dropped;
        if let Some(error) = &written.error {
            self.complain(error, now);
        }
        let works = lines > written.lost;
        (works && self.lost > 0).then(|| std::mem::take(&mut self.lost))
    }

    /// One line a minute on stderr, which may be as broken as the sink.
    fn complain(&mut self, error: &dyn std::error::Error, now: Instant) {
        if self.complained.is_some_and(|last| now.saturating_duration_since(last) < COMPLAINT) {
            return;
        }
        self.complained = Some(now);
        let (lost, error) = (self.lost, error.to_string());
        let error = error.split(" (os error").next().unwrap_or_default();
        let _ = writeln!(
            self.complaints,
            "log: {} {error}; {lost} lines lost so far, traffic goes on → make room on the disk, or mend the log's path; \
             lines are written again by themselves",
            code::LOG_LOST
        );
    }
}

impl Sink {
    fn write(&mut self, lines: VecDeque<String>, now: Instant, wall: SystemTime) -> Written {
        match self {
            Self::File(file) => file.write(lines.iter().map(String::as_str), now, wall),
            Self::Stream(stream) => {
                let mut written = Written::default();
                for line in lines {
                    if let Err(error) = write_line(stream, line) {
                        written.lost += 1;
                        written.error = Some(error);
                    }
                }
                written
            }
        }
    }
}

/// One write per line: lines of two processes on one terminal must not mix.
fn write_line(stream: &mut dyn Write, mut line: String) -> io::Result<()> {
    line.push('\n');
    stream.write_all(line.as_bytes())
}

/// Between two complaints.
const COMPLAINT: Duration = Duration::from_secs(60);

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;

    /// A stream that can be broken, and what it was given.
    #[derive(Clone, Default)]
    struct Tape(Arc<Mutex<(String, bool)>>);

    impl Tape {
        fn text(&self) -> String {
            self.0.lock().expect("no panic").0.clone()
        }

        fn set_broken(&self, broken: bool) {
            self.0.lock().expect("no panic").1 = broken;
        }
    }

    impl Write for Tape {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let mut inner = self.0.lock().expect("no panic");
            if inner.1 {
                return Err(io::ErrorKind::BrokenPipe.into());
            }
            inner.0.push_str(std::str::from_utf8(bytes).expect("text"));
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn work(lines: &[&str], dropped: u64) -> Work {
        Work { lines: lines.iter().map(ToString::to_string).collect(), dropped, ..Work::default() }
    }

    #[test]
    fn broken_sink_costs_lines_one_complaint_a_minute_and_recovers() {
        let (sink, stderr) = (Tape::default(), Tape::default());
        let mut writer = Writer::new(Sink::Stream(Box::new(sink.clone())), Box::new(stderr.clone()));
        let (now, wall) = (Instant::now(), SystemTime::now());

        assert_eq!(writer.handle_work(work(&["one"], 0), now, wall), None);
        sink.set_broken(true);
        assert_eq!(writer.handle_work(work(&["two", "three"], 0), now, wall), None);
        let soon = now + COMPLAINT - Duration::from_millis(1);
        assert_eq!(writer.handle_work(work(&["four"], 5), soon, wall), None);
        assert_eq!(
            stderr.text(),
            "log: RUN-903 broken pipe; 2 lines lost so far, traffic goes on → make room on the disk, or mend the log's path; \
             lines are written again by themselves\n"
        );
        assert_eq!(writer.handle_work(work(&["five"], 0), now + COMPLAINT, wall), None);
        assert_eq!(stderr.text().lines().count(), 2);

        sink.set_broken(false);
        assert_eq!(writer.handle_work(work(&["six"], 0), now + COMPLAINT, wall), Some(9));
        assert_eq!(writer.handle_work(work(&["seven"], 0), now + COMPLAINT, wall), None);
        assert_eq!(sink.text(), "one\nsix\nseven\n");
    }

    #[test]
    fn lines_without_room_are_reported_too() {
        let sink = Tape::default();
        let mut writer = Writer::new(Sink::Stream(Box::new(sink)), Box::new(io::sink()));
        assert_eq!(writer.handle_work(work(&["one"], 3), Instant::now(), SystemTime::now()), Some(3));
    }

    #[test]
    fn broken_stderr_beside_a_broken_sink_is_no_fault() {
        let broken = Tape::default();
        broken.set_broken(true);
        let mut writer = Writer::new(Sink::Stream(Box::new(broken.clone())), Box::new(broken));
        assert_eq!(writer.handle_work(work(&["one"], 0), Instant::now(), SystemTime::now()), None);
        assert_eq!(writer.lost, 1);
    }
}
