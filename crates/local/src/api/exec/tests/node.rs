//! A node whose commands are pretended: `echo`, `cat`, `exit N`, `big`, `size`, `forever`, `refuse`.

use bytes::Bytes;
use daemon::Tasks;
use tokio::sync::{mpsc, oneshot};

use super::super::super::Status;
use super::super::super::node_link::{Exec, ExecOptions, NodeRequest, NodeRequests, OutputStream};
use super::BIG;

/// As the kubelet says it.
const REFUSAL: &str = "unable to upgrade connection: container not found (\"a\")";

struct Command {
    words: Vec<String>,
    stdin: mpsc::Receiver<Bytes>,
    sizes: mpsc::Receiver<(u16, u16)>,
    output: mpsc::Sender<(OutputStream, Bytes)>,
}

pub(super) async fn run(mut requests: NodeRequests, killed: mpsc::Sender<String>, tasks: Tasks) {
    while let Some(request) = requests.recv().await {
        let (of, options, reply) = match request {
            NodeRequest::Exec { of, options, reply } => (of, options, reply),
            // What the container runs repeats what it reads.
            NodeRequest::Attach { of, stdin, reply } => {
                let command = vec!["cat".to_owned()];
                let options = ExecOptions {
                    command,
                    stdin,
                    tty: false,
                };
                (of, options, reply)
            }
            other => panic!("the tests do not ask for {other:?}"),
        };
        assert_eq!((&*of.namespace, &*of.pod, &*of.container), ("n", "p", "a"));
        if options.command[0] == "refuse" {
            let _ = reply.send(Err(Status::internal(REFUSAL)));
            continue;
        }
        // Small channels, so that everybody has to wait for everybody.
        let (stdin, from_client) = mpsc::channel(1);
        let (to_client, output) = mpsc::channel(1);
        let (resize, sizes) = mpsc::channel(1);
        let (ended, exit) = oneshot::channel();
        let command = Command {
            words: options.command,
            stdin: from_client,
            sizes,
            output: to_client,
        };
        let killed = killed.clone();
        tasks.spawn("command", async move {
            let (name, output) = (command.words.join(" "), command.output.clone());
            tokio::select! {
                code = command.run() => {
                    drop(output);
                    let _ = ended.send(code);
                }
                () = output.closed() => killed.send(name).await.unwrap(),
            }
        });
        let stdin = options.stdin.then_some(stdin);
        let _ = reply.send(Ok(Exec {
            stdin,
            output,
            resize,
            exit,
        }));
    }
}

impl Command {
    async fn run(mut self) -> i32 {
        match &*self.words[0] {
            "echo" => {
                self.write(OutputStream::Stdout, &self.words[1]).await;
                self.write(OutputStream::Stderr, "complaint").await;
                0
            }
            "cat" => {
                while let Some(bytes) = self.stdin.recv().await {
                    let _ = self.output.send((OutputStream::Stdout, bytes)).await;
                }
                0
            }
            "exit" => self.words[1].parse().unwrap(),
            "big" => {
                for piece in big().chunks(100_000) {
                    let piece = Bytes::copy_from_slice(piece);
                    let _ = self.output.send((OutputStream::Stdout, piece)).await;
                }
                0
            }
            "size" => {
                let (columns, rows) = self.sizes.recv().await.unwrap();
                self.write(OutputStream::Stdout, &format!("{columns}x{rows}"))
                    .await;
                0
            }
            _ => {
                self.write(OutputStream::Stdout, "started").await;
                std::future::pending().await
            }
        }
    }

    async fn write(&self, stream: OutputStream, text: &str) {
        let _ = self.output.send((stream, text.to_owned().into())).await;
    }
}

/// 5 MiB in which no piece looks like its neighbour.
pub(super) fn big() -> Vec<u8> {
    let numbers = (0..BIG as u32 / 4).map(|number| number.wrapping_mul(2_654_435_761));
    numbers.flat_map(u32::to_be_bytes).collect()
}
