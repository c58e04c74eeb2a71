//! The programs behind sample images, written by us; for a client they behave as the originals do.
//!
//! They know nothing of the mesh. The binary runs one by its name (`amime sample httpbin`, or through a symlink
//! called `httpbin`), and the local cluster maps image names to them.

mod curl;
mod echo;
mod echo_client;
mod httpbin;
mod server;

use std::process::ExitCode;

/// One sample program.
pub struct Program {
    /// The name it is called by.
    pub name: &'static str,
    /// Published images that it stands in for.
    pub images: &'static [Image],
    run: fn(Vec<String>) -> anyhow::Result<ExitCode>,
}

/// An image that a program stands in for.
pub struct Image {
    /// Without registry default and tag.
    pub name: &'static str,
    /// What the image's entry point passes to the program when a container states no `command`.
    pub arguments: &'static [&'static str],
}

const fn image(name: &'static str) -> Image {
    Image { name, arguments: &[] }
}

/// Every sample program.
pub const PROGRAMS: &[Program] = &[
    Program {
        name: "playground-echo",
        images: &[image("h3poteto/playground-echo-go")],
        run: echo::run,
    },
    Program {
        name: "playground-echo-client",
        images: &[image("h3poteto/playground-echo-client")],
        run: echo_client::run,
    },
    Program {
        name: "curl",
        images: &[image("curlimages/curl"), image("curl")],
        run: curl::run,
    },
    Program {
        name: "httpbin",
        images: &[
            image("mccutchen/go-httpbin"),
            image("httpbin"),
            Image {
                name: "kennethreitz/httpbin",
                arguments: &["-port", "80"],
            },
        ],
        run: httpbin::run,
    },
];

/// Runs the program of that name to its end; `None` when there is no such program.
pub fn run(name: &str, arguments: Vec<String>) -> Option<ExitCode> {
    let program = PROGRAMS.iter().find(|program| program.name == name)?;
    Some((program.run)(arguments).unwrap_or_else(|error| {
        eprintln!("{name}: {error:#}");
        ExitCode::FAILURE
    }))
}

/// Runs a future on a runtime of its own: samples are single-threaded.
fn block_on<T>(future: impl Future<Output = anyhow::Result<T>>) -> anyhow::Result<T> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?
        .block_on(future)
}

/// A setting from the environment; empty counts as unset.
fn setting(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}
