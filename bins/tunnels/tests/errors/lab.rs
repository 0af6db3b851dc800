//! One situation's own small world: a folder with certificates and configurations, the programs, ports of its own.

use std::any::Any;
use std::cell::{Cell, RefCell};
use std::collections::HashSet;
use std::io::{BufRead, BufReader, Read};
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

/// What came of a situation.
#[derive(Debug)]
pub(crate) enum Said {
    /// The program ended with this line and exit code.
    Ended { program: &'static str, exit: i32, line: String },
    /// It went on, and this is in its log.
    Logged { program: &'static str, line: String },
    /// This machine or this user can't bring it about.
    Impossible(&'static str),
}

pub(crate) struct Lab {
    folder: tempfile::TempDir,
    pub(crate) port: u16,
    pub(crate) socks: u16,
    started: RefCell<Vec<Running>>,
    made: Cell<bool>,
}

impl Lab {
    pub(crate) fn new() -> Self {
        let folder = tempfile::tempdir().expect("folder");
        let started = RefCell::default();
        Self { folder, port: free_port(), socks: free_port(), started, made: Cell::new(false) }
    }

    pub(crate) fn path(&self) -> &Path {
        self.folder.path()
    }

    /// Certificates and configurations as `tunnels init` makes them, for a server at 127.0.0.1.
    pub(crate) fn pair(&self) -> &Self {
        if !self.made.replace(true) {
            tunnels::pki::init(self.path(), &format!("127.0.0.1:{}", self.port)).expect("init");
        }
        self
    }

    /// A second pair, of another CA, in the folder `other`.
    pub(crate) fn other_pair(&self) -> &Self {
        tunnels::pki::init(&self.path().join("other"), &format!("127.0.0.1:{}", self.port)).expect("init");
        self
    }

    pub(crate) fn write(&self, name: &str, text: impl AsRef<[u8]>, mode: u32) -> &Self {
        std::fs::write(self.path().join(name), text).expect("write");
        std::fs::set_permissions(self.path().join(name), std::fs::Permissions::from_mode(mode))
            .expect("mode");
        self
    }

    /// Puts `more` behind the settings of a file that `tunnels init` made.
    pub(crate) fn add(&self, name: &str, more: &str) -> &Self {
        let text = std::fs::read_to_string(self.path().join(name)).expect("read");
        self.write(name, format!("{text}\n{more}\n"), 0o600)
    }

    /// A program with these arguments, which are split at blanks; `PORT` and `SOCKS` stand for this lab's ports.
    pub(crate) fn command(&self, program: &str, arguments: &str) -> Command {
        let mut command = Command::new(binary(program));
        for (name, _) in
            std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("TUNNELS_"))
        {
            command.env_remove(name);
        }
        let arguments =
            arguments.replace("PORT", &self.port.to_string()).replace("SOCKS", &self.socks.to_string());
        command
            .args(arguments.split_whitespace())
            .current_dir(self.path())
            .stdin(Stdio::null())
            .env("TZ", "UTC");
        command
    }

    /// Runs a program that ends by itself.
    pub(crate) fn ends(&self, program: &'static str, arguments: &str) -> Said {
        self.ends_as(program, self.command(program, arguments))
    }

    /// The same with an environment, or as another user.
    pub(crate) fn ends_as(&self, program: &'static str, mut command: Command) -> Said {
        let mut child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().expect("run");
        let mut line = String::new();
        let mut stderr = child.stderr.take().expect("a pipe");
        let end = Instant::now() + LIMIT;
        while child.try_wait().expect("wait").is_none() {
            if Instant::now() > end {
                let _ = child.kill();
                let _ = stderr.read_to_string(&mut line);
                panic!("it goes on although it should end; it said: {line}");
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        stderr.read_to_string(&mut line).expect("UTF-8");
        let exit = child.wait().expect("wait").code().expect("an exit code");
        Said::Ended { program, exit, line: self.plain(&line) }
    }

    /// The server of [`Lab::pair`], listening; it opens this machine to its client.
    pub(crate) fn server(&self, more: &str) -> Running {
        let base =
            "--config server.yaml -server.addr 127.0.0.1:PORT -server.allow 127.0.0.0/8 -sla.log.path -";
        self.pair().started("tunnels-server", &with(base, more))
    }

    /// The client of [`Lab::pair`], listening.
    pub(crate) fn client(&self, more: &str) -> Running {
        let base =
            "--config client.yaml -server.addr 127.0.0.1:PORT -client.addr 127.0.0.1:SOCKS -sla.log.path -";
        self.pair().started("tunnels-client", &with(base, more))
    }

    /// A program that listens by now.
    pub(crate) fn started(&self, program: &'static str, arguments: &str) -> Running {
        let running = self.running(program, self.command(program, arguments));
        running.line("listening");
        running
    }

    /// A program whose log comes on standard error; it ends with this lab.
    pub(crate) fn running(&self, program: &'static str, mut command: Command) -> Running {
        let mut child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().expect("run");
        let lines: Arc<(Mutex<Vec<String>>, Condvar)> = Arc::default();
        let stderr = BufReader::new(child.stderr.take().expect("a pipe"));
        let ours = lines.clone();
        std::thread::spawn(move || {
            for line in stderr.lines().map_while(Result::ok) {
                ours.0.lock().expect("no panic").push(line);
                ours.1.notify_all();
            }
        });
        let running =
            Running { program, child: Arc::new(Mutex::new(child)), lines, folder: self.path().to_owned() };
        self.started.borrow_mut().push(running.clone());
        running
    }

    /// Waits until a file holds these words.
    pub(crate) fn wait(&self, name: &str, words: &str) {
        let end = Instant::now() + LIMIT;
        while !std::fs::read_to_string(self.path().join(name)).is_ok_and(|text| text.contains(words)) {
            assert!(Instant::now() < end, "{name} never held {words:?}");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    fn plain(&self, text: &str) -> String {
        plain(self.path(), text)
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        for running in self.started.take() {
            running.kill();
        }
    }
}

/// A program that goes on.
#[derive(Clone)]
pub(crate) struct Running {
    program: &'static str,
    child: Arc<Mutex<Child>>,
    lines: Arc<(Mutex<Vec<String>>, Condvar)>,
    folder: PathBuf,
}

impl Running {
    /// The first line of its log that holds `needle`, without its time.
    pub(crate) fn says(&self, needle: &str) -> Said {
        let line = self.line(needle);
        let line = line.get(TIME..).unwrap_or_default();
        Said::Logged { program: self.program, line: plain(&self.folder, line) }
    }

    /// The same for a line that is none of the log's.
    pub(crate) fn says_bare(&self, needle: &str) -> Said {
        Said::Logged { program: self.program, line: plain(&self.folder, &self.line(needle)) }
    }

    pub(crate) fn line(&self, needle: &str) -> String {
        let found = |lines: &Vec<String>| lines.iter().find(|line| line.contains(needle)).cloned();
        let end = Instant::now() + LIMIT;
        let mut lines = self.lines.0.lock().expect("no panic");
        loop {
            if let Some(line) = found(&lines) {
                return line;
            }
            let left = end.saturating_duration_since(Instant::now());
            assert!(!left.is_zero(), "{} never said {needle:?}; it said: {lines:#?}", self.program);
            lines = self.lines.1.wait_timeout(lines, left).expect("no panic").0;
        }
    }

    pub(crate) fn id(&self) -> u32 {
        self.child.lock().expect("no panic").id()
    }

    pub(crate) fn signal(&self, name: &str) {
        let id = self.id();
        let sent = Command::new("kill").args([format!("-{name}"), id.to_string()]).status().expect("kill");
        assert!(sent.success());
    }

    pub(crate) fn kill(&self) {
        let mut child = self.child.lock().expect("no panic");
        let _ = child.kill();
        let _ = child.wait();
    }
}

/// Flags of `base` with `more` behind them, which stand for those of the same name.
fn with(base: &str, more: &str) -> String {
    let words: Vec<&str> = base.split_whitespace().collect();
    let kept = words.chunks(2).filter(|flag| !more.split_whitespace().any(|word| word == flag[0]));
    kept.flatten().copied().chain([more]).collect::<Vec<_>>().join(" ")
}

/// The same command for a process that may have so many descriptors and no more.
pub(crate) fn with_descriptors(limit: usize, command: &Command) -> Command {
    let mut less = Command::new("sh");
    less.arg("-c").arg(format!("ulimit -n {limit}; exec \"$0\" \"$@\""));
    less.arg(command.get_program()).args(command.get_args());
    for (name, value) in command.get_envs() {
        match value {
            Some(value) => less.env(name, value),
            None => less.env_remove(name),
        };
    }
    less.current_dir(command.get_current_dir().expect("a folder")).stdin(Stdio::null());
    less
}

/// Names of this run's folder do not matter.
fn plain(folder: &Path, text: &str) -> String {
    let real = folder.canonicalize().unwrap_or_else(|_| folder.to_owned());
    let mut text = text.trim_end_matches('\n').to_owned();
    for folder in [&real, folder] {
        text =
            text.replace(&format!("{}/", folder.display()), "").replace(&folder.display().to_string(), ".");
    }
    text
}

/// The programs lie beside the one of this package: cargo makes all three when their packages are tested together.
fn binary(program: &str) -> PathBuf {
    let path = Path::new(env!("CARGO_BIN_EXE_tunnels")).with_file_name(program);
    assert!(
        path.is_file(),
        "{program} is not built: test the packages client, server and tunnels-cli together"
    );
    path
}

/// A port nobody listens on, below those the kernel gives to outgoing connections.
pub(crate) fn free_port() -> u16 {
    static GIVEN: Mutex<Option<HashSet<u16>>> = Mutex::new(None);
    let mut given = GIVEN.lock().expect("no panic");
    let given = given.get_or_insert_default();
    loop {
        let nanos = std::time::UNIX_EPOCH.elapsed().expect("after 1970").subsec_nanos();
        let port = 10_000 + u16::try_from((nanos / 7 + std::process::id()) % 22_000).expect("small");
        if !given.contains(&port) && TcpListener::bind(("127.0.0.1", port)).is_ok() {
            given.insert(port);
            return port;
        }
    }
}

/// What a panic had to say.
pub(crate) fn words(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().cloned();
    text.or_else(|| panic.downcast_ref::<&str>().map(ToString::to_string)).unwrap_or_default()
}

/// `2020.09.01 17:15:07 `.
const TIME: usize = 20;
/// Far above what any of them takes.
const LIMIT: Duration = Duration::from_secs(30);
