//! The two proxies: started with a file, ready when their admin page says so, ended by their id.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::Places;

/// Longest start.
const PATIENCE: Duration = Duration::from_secs(20);

pub(crate) struct Server {
    process: Child,
    log: PathBuf,
}

impl Server {
    pub(crate) fn amime(text: &str, places: &Places) -> Result<Self, String> {
        let mut command = Command::new(env!("CARGO_BIN_EXE_amime"));
        command.args(["proxy", "--concurrency", "1", "-l", "warning"]);
        Self::start(command, "amime", text, places)
    }

    pub(crate) fn envoy(text: &str, places: &Places) -> Result<Self, String> {
        let program = std::env::var_os("ENVOY").map_or_else(|| "envoy".into(), PathBuf::from);
        let mut command = Command::new(program);
        command.args(["--disable-hot-restart", "--concurrency", "1", "-l", "warning"]);
        Self::start(command, "envoy", text, places)
    }

    fn start(mut command: Command, name: &str, text: &str, places: &Places) -> Result<Self, String> {
        let file = places.directory.path().join(format!("{name}.yaml"));
        std::fs::write(&file, text).map_err(|error| error.to_string())?;
        let log = places.directory.path().join(format!("{name}.log"));
        let output = std::fs::File::create(&log).map_err(|error| error.to_string())?;
        let errors = output.try_clone().map_err(|error| error.to_string())?;
        let process = command
            .arg("-c")
            .arg(&file)
            .stdin(Stdio::null())
            .stdout(output)
            .stderr(errors)
            .spawn()
            .map_err(|error| format!("{name} cannot be started: {error}"))?;
        Ok(Self { process, log })
    }

    #[allow(dead_code, reason = "measurements ask for it")]
    pub(crate) fn id(&self) -> u32 {
        self.process.id()
    }

    pub(crate) fn wait_ready(&mut self, places: &Places) -> Result<(), String> {
        let address = format!("127.0.0.1:{}", places.get("PORT_ADMIN"));
        let end = Instant::now() + PATIENCE;
        while Instant::now() < end {
            if is_ready(&address) {
                return Ok(());
            }
            if !matches!(self.process.try_wait(), Ok(None)) {
                break;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        let log = std::fs::read_to_string(&self.log).unwrap_or_default();
        Err(format!("is not ready; its log:\n{log}"))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Gone already is as good.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn is_ready(address: &str) -> bool {
    let Ok(mut stream) = TcpStream::connect(address) else {
        return false;
    };
    let _ = stream.set_read_timeout(Some(Duration::from_secs(2)));
    let mut answer = String::new();
    let asked = stream.write_all(b"GET /ready HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n");
    asked.is_ok() && stream.read_to_string(&mut answer).is_ok() && answer.starts_with("HTTP/1.1 200")
}
