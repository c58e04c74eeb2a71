//! A running command as its client sees it, whatever the connection: bytes in, bytes out, the size of a terminal, and
//! at the end a `Status`.
//!
//! Nothing piles up: at most one piece of input waits here, and output is taken only when it can be sent. Dropping the
//! output's end ends the command.

use bytes::Bytes;
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::sync::{mpsc, oneshot};

use super::super::Status;
use super::super::node_link::{Exec, OutputStream};
use super::super::pod_log::flag;

/// What the query asks for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Wanted {
    pub(super) command: Vec<String>,
    pub(super) stdin: bool,
    pub(super) stdout: bool,
    /// Never together with a terminal, which has only one output.
    pub(super) stderr: bool,
    pub(super) tty: bool,
}

impl Wanted {
    /// Of a client that attaches itself.
    pub(super) fn of(parameters: &[(String, String)]) -> Result<Self, Status> {
        let command = parameters.iter().filter(|(name, _)| name == "command");
        let tty = flag(parameters, "tty");
        let wanted = Self {
            command: command.map(|(_, value)| value.clone()).collect(),
            stdin: flag(parameters, "stdin"),
            stdout: flag(parameters, "stdout"),
            stderr: flag(parameters, "stderr") && !tty,
            tty,
        };
        if !(wanted.stdin || wanted.stdout || wanted.stderr) {
            return Err(Status::bad_request(
                "you must specify at least 1 of stdin, stdout, stderr",
            ));
        }
        Ok(wanted)
    }

    /// Of a client that runs a command.
    pub(super) fn of_command(parameters: &[(String, String)]) -> Result<Self, Status> {
        let wanted = Self::of(parameters)?;
        if wanted.command.is_empty() {
            return Err(Status::bad_request(
                "you must specify at least one command for the container",
            ));
        }
        Ok(wanted)
    }
}

/// A command and what its client wants of it.
pub(super) struct Session {
    pub(super) exec: Exec,
    pub(super) wanted: Wanted,
}

/// From the client to the command.
pub(super) struct Input {
    stdin: Option<mpsc::Sender<Bytes>>,
    resize: Option<mpsc::Sender<(u16, u16)>>,
    bytes: Option<Bytes>,
    size: Option<(u16, u16)>,
    ended: bool,
}

/// From the command to the client.
pub(super) struct Output {
    output: mpsc::Receiver<(OutputStream, Bytes)>,
    exit: oneshot::Receiver<i32>,
    wanted: Wanted,
}

/// What the client is to be told.
pub(super) enum Event {
    Wrote(OutputStream, Bytes),
    /// The last event, as a Kubernetes `Status`.
    Ended(Value),
}

impl Session {
    pub(super) fn split(self) -> (Input, Output) {
        let input = Input {
            stdin: self.exec.stdin.filter(|_| self.wanted.stdin),
            resize: self.wanted.tty.then_some(self.exec.resize),
            bytes: None,
            size: None,
            ended: false,
        };
        let output = Output {
            output: self.exec.output,
            exit: self.exec.exit,
            wanted: self.wanted,
        };
        (input, output)
    }
}

impl Input {
    /// Standard input; only when nothing [waits](Self::waits).
    pub(super) fn put(&mut self, bytes: Bytes) {
        if self.stdin.is_some() && !self.ended && !bytes.is_empty() {
            self.bytes = Some(bytes);
        }
    }

    /// The client will send no more.
    pub(super) fn end(&mut self) {
        self.ended = true;
        if self.bytes.is_none() {
            self.stdin = None;
        }
    }

    /// The size of the client's terminal, as `{"Width":80,"Height":24}`. Only the last one counts.
    pub(super) fn resize(&mut self, text: &[u8]) {
        #[derive(Deserialize)]
        #[serde(rename_all = "PascalCase")]
        struct Size {
            width: u16,
            height: u16,
        }
        if self.resize.is_none() {
            return;
        }
        match serde_json::from_slice::<Size>(text) {
            Ok(size) => self.size = Some((size.width, size.height)),
            Err(error) => tracing::debug!(%error, "a client sent no size of a terminal"),
        }
    }

    /// The command has ended: nothing is passed on any more.
    pub(super) fn discard(&mut self) {
        (self.stdin, self.resize, self.bytes, self.size) = (None, None, None, None);
    }

    /// Whether something is left for [`Self::pass`].
    pub(super) fn waits(&self) -> bool {
        self.bytes.is_some() || self.size.is_some()
    }

    /// Passes on what waits, at the command's pace. May be dropped and called again.
    pub(super) async fn pass(&mut self) {
        if let (Some(size), Some(resize)) = (self.size, &self.resize) {
            if let Ok(room) = resize.reserve().await {
                room.send(size);
            }
            self.size = None;
        }
        if self.bytes.is_some()
            && let Some(stdin) = &self.stdin
        {
            let room = stdin.reserve().await;
            if let (Ok(room), Some(bytes)) = (room, self.bytes.take()) {
                room.send(bytes);
            } else {
                // The command reads no more: like a closed pipe, without the signal.
                self.stdin = None;
            }
        }
        if self.ended {
            self.stdin = None;
        }
    }
}

impl Output {
    pub(super) fn wanted(&self) -> &Wanted {
        &self.wanted
    }

    /// The next event; not to be called after the last. May be dropped and called again.
    pub(super) async fn next(&mut self) -> Event {
        while let Some((stream, bytes)) = self.output.recv().await {
            let wanted = match stream {
                OutputStream::Stdout => self.wanted.stdout,
                OutputStream::Stderr => self.wanted.stderr,
            };
            if wanted && !bytes.is_empty() {
                return Event::Wrote(stream, bytes);
            }
        }
        let code = (&mut self.exit).await.ok();
        match code {
            // Whoever is attached sees the program end; how is for the pod's status to say.
            Some(_) if self.wanted.command.is_empty() => Event::Ended(status(Some(0), &[])),
            code => Event::Ended(status(code, &self.wanted.command)),
        }
    }
}

/// How a command ended, in the words of a real node.
fn status(code: Option<i32>, command: &[String]) -> Value {
    match code {
        Some(0) => json!({"metadata": {}, "status": "Success"}),
        Some(code) => json!({
            "metadata": {}, "status": "Failure", "reason": "NonZeroExitCode",
            "message": format!(
                "command terminated with non-zero exit code: error executing command [{}], exit code {code}",
                command.join(" ")
            ),
            "details": {"causes": [{"reason": "ExitCode", "message": code.to_string()}]},
        }),
        None => {
            let why = "Internal error occurred: error executing command in container: its node lost it";
            Status::internal(why).to_object()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wanted(query: &[(&str, &str)]) -> Result<Wanted, Status> {
        let own = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
        Wanted::of_command(&query.iter().map(own).collect::<Vec<_>>())
    }

    #[test]
    fn a_command_is_read_word_by_word_and_a_terminal_has_one_output() {
        let query = [
            ("command", "ls"),
            ("command", ""),
            ("stdin", "false"),
            ("stdout", "true"),
            ("stderr", "true"),
            ("tty", "1"),
        ];
        let expected = Wanted {
            command: vec!["ls".to_owned(), String::new()],
            stdout: true,
            tty: true,
            ..Wanted::default()
        };
        assert_eq!(wanted(&query), Ok(expected));
    }

    #[test]
    fn a_command_without_a_stream_or_a_word_is_refused() {
        let why = |query: &[(&str, &str)]| wanted(query).unwrap_err().message;
        assert_eq!(
            why(&[("command", "ls"), ("stdout", "0")]),
            "you must specify at least 1 of stdin, stdout, stderr"
        );
        assert_eq!(
            why(&[("stdin", "1")]),
            "you must specify at least one command for the container"
        );
    }

    #[test]
    fn a_lost_exit_code_is_an_internal_error() {
        assert_eq!(status(None, &[])["reason"], "InternalError");
        assert_eq!(status(Some(0), &[])["status"], "Success");
        assert_eq!(
            status(Some(130), &["sh".to_owned(), "-c".to_owned()])["message"],
            "command terminated with non-zero exit code: error executing command [sh -c], exit code 130"
        );
    }
}
