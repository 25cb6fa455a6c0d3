//! The real binary as a process of its own: started, watched, killed. Nothing of it outlives its test.

#![expect(clippy::unwrap_used, reason = "a test whose set-up fails has failed")]

use std::fs::{self, File};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use serde_json::Value;

/// Nothing that a test waits for may take longer.
pub(crate) const PATIENCE: Duration = Duration::from_mins(2);
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// A folder with a configuration, its secrets and its store; outlives any number of daemons on it.
pub(crate) struct Home {
    folder: tempfile::TempDir,
    started: AtomicU32,
}

/// One process. Killed when dropped.
pub(crate) struct Daemon {
    child: Child,
    log: PathBuf,
    ops: String,
    api: String,
    /// Of somebody who may ask, where the configuration wants that.
    token: Option<PathBuf>,
    http: reqwest::Client,
}

/// In the home: the token of who runs the commands.
const TOKEN_FILE: &str = "me.token";

impl Home {
    /// With a configuration in which listeners are left out: they get free ports. One that wants others begins with them.
    pub(crate) fn new(config: &str) -> Self {
        let home = Self {
            folder: tempfile::tempdir().unwrap(),
            started: AtomicU32::new(0),
        };
        home.configure(config);
        home
    }

    pub(crate) fn configure(&self, config: &str) {
        let listeners = if config.starts_with("http:") {
            ""
        } else {
            "http: { ops: { listen: 127.0.0.1:0 }, api: { listen: 127.0.0.1:0 } }\n"
        };
        self.write("tokenwarden.yaml", &format!("{listeners}{config}"));
    }

    pub(crate) fn write(&self, name: &str, text: &str) {
        fs::write(self.path().join(name), text).unwrap();
    }

    /// Adds to the end of a file, as a server does with its log.
    pub(crate) fn append(&self, name: &str, text: &str) {
        let mut file = File::options();
        let mut file = file
            .create(true)
            .append(true)
            .open(self.path().join(name))
            .unwrap();
        file.write_all(text.as_bytes()).unwrap();
    }

    pub(crate) fn path(&self) -> &Path {
        self.folder.path()
    }

    /// Starts the daemon and waits until its listeners are open; it need not be ready.
    pub(crate) async fn start(&self) -> Daemon {
        let mut daemon = self.spawn();
        daemon.ops = daemon.listener("ops").await;
        daemon.api = daemon.listener("api").await;
        daemon
    }

    /// Starts the daemon and kills it after a while, however far it has come. Returns its log.
    pub(crate) async fn killed_within(&self, pause: Duration) -> String {
        let daemon = self.spawn();
        tokio::time::sleep(pause).await;
        let log = daemon.log.clone();
        daemon.kill();
        fs::read_to_string(log).unwrap_or_default()
    }

    /// Starts the daemon, and waits for nothing.
    pub(crate) fn spawn(&self) -> Daemon {
        let number = self.started.fetch_add(1, Ordering::Relaxed);
        let log = self.path().join(format!("daemon-{number}.log"));
        let child = Command::new(env!("CARGO_BIN_EXE_tokenwarden"))
            .args(["run", "-c"])
            .arg(self.path().join("tokenwarden.yaml"))
            .env("NO_COLOR", "1")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(File::create(&log).unwrap())
            .spawn()
            .unwrap();
        Daemon {
            child,
            log,
            ops: String::new(),
            api: String::new(),
            token: Some(self.path().join(TOKEN_FILE)).filter(|file| file.exists()),
            http: http_client(),
        }
    }

    /// Starts the daemon and waits until it is ready.
    pub(crate) async fn start_ready(&self) -> Daemon {
        let mut daemon = self.start().await;
        daemon.wait_ready().await;
        daemon
    }
}

pub(crate) fn http_client() -> reqwest::Client {
    // Of several that install it the first one wins.
    rustls::crypto::ring::default_provider()
        .install_default()
        .ok();
    reqwest::Client::new()
}

impl Daemon {
    /// Where a listener is, as a URL.
    pub(crate) async fn listener(&mut self, name: &str) -> String {
        let words = format!("Listener {name} is open");
        let deadline = Instant::now() + PATIENCE;
        loop {
            let log = self.log();
            let found = log.lines().find(|line| line.contains(&words));
            if let Some((_, address)) = found.and_then(|line| line.split_once("address=")) {
                let address = address.split_whitespace().next().unwrap();
                return format!("http://{address}");
            }
            if let Some(status) = self.child.try_wait().unwrap() {
                panic!("the daemon ended with {status}:\n{log}");
            }
            assert!(Instant::now() < deadline, "no listener {name}:\n{log}");
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    pub(crate) async fn wait_ready(&mut self) {
        self.wait("ready", async |daemon| {
            daemon.readiness().await.0.then_some(())
        })
        .await;
    }

    /// Whether it leads, as it says to whoever sends requests to one of several.
    pub(crate) async fn leads(&self) -> bool {
        let answer = self.get(&format!("{}/-/leader", self.ops)).await;
        answer.status().is_success()
    }

    /// Whether it is ready, and what it says about it.
    pub(crate) async fn readiness(&self) -> (bool, String) {
        let answer = self.get(&format!("{}/-/ready", self.ops)).await;
        (answer.status().is_success(), answer.text().await.unwrap())
    }

    /// Asks until there is an answer; fails with the log when that takes too long or the daemon ends.
    pub(crate) async fn wait<T>(&mut self, what: &str, ask: impl AsyncFn(&Self) -> Option<T>) -> T {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(answer) = ask(self).await {
                return answer;
            }
            if let Some(status) = self.child.try_wait().unwrap() {
                panic!("the daemon ended with {status}:\n{}", self.log());
            }
            assert!(
                Instant::now() < deadline,
                "waited in vain for: {what}\n{}",
                self.log()
            );
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    /// All entries of a list of the API: `incidents`, `detections`, `actions`.
    pub(crate) async fn list(&self, name: &str) -> Vec<Value> {
        let (mut items, mut before) = (Vec::new(), String::new());
        loop {
            let url = format!("{}/api/v1/{name}?limit=1000{before}", self.api);
            let page: Value = self.get(&url).await.json().await.unwrap();
            items.extend(page[name].as_array().unwrap().iter().cloned());
            match page["next"].as_i64() {
                Some(next) => before = format!("&before={next}"),
                None => return items,
            }
        }
    }

    /// The sum of a metric over the label sets that contain `labels`.
    pub(crate) async fn metric(&self, name: &str, labels: &str) -> f64 {
        let text = self.metrics().await;
        let value = |line: &str| -> Option<f64> {
            let rest = line.strip_prefix(name)?;
            let ours = rest.starts_with(['{', ' ']) && rest.contains(labels);
            ours.then(|| rest.rsplit_once(' ').unwrap().1.parse().unwrap())
        };
        text.lines().filter_map(value).sum()
    }

    /// The whole page of metrics.
    pub(crate) async fn metrics(&self) -> String {
        let page = self.get(&format!("{}/metrics", self.ops)).await;
        page.text().await.unwrap()
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Memory of the process that is in RAM, as Linux says.
    pub(crate) fn resident_bytes(&self) -> Option<u64> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.pid())).ok()?;
        let resident = status
            .lines()
            .find_map(|line| line.strip_prefix("VmRSS:"))?;
        let kib: u64 = resident.trim().strip_suffix("kB")?.trim().parse().ok()?;
        Some(kib * 1024)
    }

    /// Where Prometheus finds it.
    pub(crate) fn target(&self) -> &str {
        self.ops.trim_start_matches("http://")
    }

    /// Asks the API.
    pub(crate) async fn api(&self, path: &str) -> Value {
        let answer = self.get(&format!("{}{path}", self.api)).await;
        answer.json().await.unwrap()
    }

    /// Runs one of the commands that ask a daemon, and gives what it prints.
    pub(crate) fn command(&self, words: &[&str]) -> String {
        let mut command = Command::new(env!("CARGO_BIN_EXE_tokenwarden"));
        command.args(words).args(["--api", &self.api]);
        if let Some(file) = &self.token {
            command.arg("--token-file").arg(file);
        }
        let done = command.output().unwrap();
        let said = String::from_utf8_lossy(&done.stderr);
        assert!(done.status.success(), "{words:?}: {said}");
        String::from_utf8(done.stdout).unwrap()
    }

    /// Loads the configuration again; whether it could.
    pub(crate) async fn reload(&self) -> bool {
        let answer = self
            .http
            .post(format!("{}/-/reload", self.api))
            .send()
            .await;
        answer.unwrap().status().is_success()
    }

    async fn get(&self, url: &str) -> reqwest::Response {
        let mut request = self.http.get(url);
        if let Some(file) = &self.token {
            request = request.bearer_auth(fs::read_to_string(file).unwrap());
        }
        match request.send().await {
            Ok(answer) => answer,
            Err(error) => panic!("{url}: {error}\n{}", self.log()),
        }
    }

    pub(crate) fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// As the kernel does when memory runs out: no last word.
    pub(crate) fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// As a service manager does, and the daemon must end well.
    pub(crate) async fn stop(mut self) {
        self.signal("TERM");
        let status = self.ended().await;
        assert!(status.success(), "{status}\n{}", self.log());
    }

    /// Sends a signal, by its name.
    pub(crate) fn signal(&self, name: &str) {
        let pid = self.pid().to_string();
        let sent = Command::new("kill")
            .args([&format!("-{name}"), &pid])
            .status();
        assert!(sent.unwrap().success());
    }

    /// Waits for its end.
    pub(crate) async fn ended(&mut self) -> ExitStatus {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status;
            }
            assert!(Instant::now() < deadline, "does not stop:\n{}", self.log());
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        // It may have ended long ago.
        self.child.kill().ok();
        self.child.wait().ok();
    }
}
