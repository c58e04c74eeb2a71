//! `amime explain`: what happens to a call at both ends, and which object, rule and line decides each step; and, the other
//! way round, what the details in an access log mean.
//!
//! It asks the functions that make the proxies' configuration, and the matchers that the proxies run, so it says what they
//! do. Nothing is called.

mod details;
mod inbound;
mod lines;
mod objects;
mod outbound;
mod problem;
mod question;
mod report;
mod story;
#[cfg(test)]
mod tests;
mod tokens;
mod world;

use std::net::IpAddr;
use std::path::PathBuf;
use std::process::ExitCode;

use serde::Serialize;
use translate::explain::Details;

use crate::cli::Target;
use crate::connect;
use crate::files;
use objects::{Collection, Objects};
use problem::Problem;
use question::{PodName, Question};
use world::Place;

#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Method of the request; TCP or TLS for a connection that is not HTTP
    #[arg(requires = "url")]
    method: Option<String>,
    /// What is called: http://HOST[:PORT]/PATH, https://HOST, tcp://HOST:PORT
    url: Option<String>,
    /// The pod that calls: NAMESPACE/POD
    #[arg(long, value_name = "POD")]
    from: Option<String>,
    /// The pod that is called: NAMESPACE/POD [default: one that the route leads to]
    #[arg(long, value_name = "POD")]
    to: Option<String>,
    /// Namespace of pods, hosts and objects that name none
    #[arg(short, long, default_value = "default")]
    namespace: String,
    /// A header of the request; may be given several times
    #[arg(short = 'H', long, value_name = "NAME: VALUE")]
    header: Vec<String>,
    /// Identity of the caller [default: that of its pod]
    #[arg(long, value_name = "spiffe://…")]
    identity: Option<String>,
    /// Service account of the caller instead: NAMESPACE/NAME
    #[arg(long, value_name = "ACCOUNT", conflicts_with = "identity")]
    service_account: Option<String>,
    /// Claims of the token that the request carries, taken for well signed
    #[arg(long, value_name = "JSON")]
    claims: Option<String>,
    /// Address of the caller [default: that of its pod]
    #[arg(long, value_name = "IP")]
    source_ip: Option<IpAddr>,
    /// What an access log says instead of a call: its meaning, and the rule behind it
    #[arg(long, value_name = "TEXT", conflicts_with = "method")]
    details: Option<String>,
    /// Objects from a file, a directory, or - for standard input, instead of a cluster's; over those of a cluster that is named with --kubeconfig, --context or --home
    #[arg(short, long = "filename", value_name = "FILE")]
    file: Vec<PathBuf>,
    /// Namespace of the control plane
    #[arg(short, long, default_value = translate::ROOT_NAMESPACE)]
    istio_namespace: String,
    #[arg(short, long, value_enum, default_value_t = Output::Text)]
    output: Output,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Output {
    Text,
    Json,
    Yaml,
}

/// What is asked.
enum Asked {
    Call(Box<Question>),
    Details(String, Details),
}

impl Asked {
    fn read(arguments: &Arguments) -> Result<Self, Problem> {
        let Some(text) = &arguments.details else {
            return Ok(Self::Call(Box::new(Question::read(arguments)?)));
        };
        let text = text.trim().trim_matches('"');
        match Details::read(text) {
            Some(details) => Ok(Self::Details(text.to_owned(), details)),
            None => Err(Problem::Details {
                text: text.to_owned(),
            }),
        }
    }

    /// Whether there is anything to look up.
    fn needs_objects(&self, arguments: &Arguments) -> bool {
        match self {
            Self::Call(_) | Self::Details(_, Details::Rule { .. }) => true,
            Self::Details(_, details) => details::wants_workload(details) && arguments.to.is_some(),
        }
    }
}

pub(crate) async fn run(target: &Target, arguments: &Arguments) -> anyhow::Result<ExitCode> {
    match tell(target, arguments).await {
        Ok((told, good)) => {
            print!("{told}");
            Ok(ExitCode::from(u8::from(!good)))
        }
        Err(error) if is_wrong_use(&error) => {
            eprintln!("Error: {error}");
            Ok(ExitCode::from(64))
        }
        Err(error) => Err(error),
    }
}

fn is_wrong_use(error: &anyhow::Error) -> bool {
    error.downcast_ref().is_some_and(Problem::is_wrong_use)
}

/// What is told, and whether everything could be read.
async fn tell(target: &Target, arguments: &Arguments) -> anyhow::Result<(String, bool)> {
    let asked = Asked::read(arguments)?;
    let (objects, good) = match asked.needs_objects(arguments) {
        true => read(target, arguments).await?,
        false => (Objects::default(), true),
    };
    Ok((answer(&asked, arguments, &objects)?, good))
}

/// Reads the objects, and tells whether that was all of them. What is odd about them is said.
async fn read(target: &Target, arguments: &Arguments) -> anyhow::Result<(Objects, bool)> {
    let mut collection = Collection::new(&arguments.namespace, &arguments.istio_namespace);
    let names_cluster = target.kubeconfig.is_some() || target.context.is_some() || target.home.is_some();
    let documents = files::read(&arguments.file)?;
    if arguments.file.is_empty() || names_cluster {
        collection.add_cluster(&connect::connect(target).await?).await?;
    }
    collection.add_files(&documents)?;
    collection
        .warnings
        .iter()
        .for_each(|warning| eprintln!("warning: {warning}"));
    documents
        .problems
        .iter()
        .for_each(|problem| eprintln!("error: {problem}"));
    Ok((collection.objects(), documents.problems.is_empty()))
}

/// What is told.
fn answer(asked: &Asked, arguments: &Arguments, objects: &Objects) -> anyhow::Result<String> {
    match asked {
        Asked::Call(question) => {
            let report = story::report(objects, question)?;
            written(arguments.output, &report, || report.text())
        }
        Asked::Details(text, details) => {
            let to = arguments
                .to
                .as_deref()
                .filter(|_| details::wants_workload(details));
            let to = to
                .map(|to| PodName::read("--to", to, &arguments.namespace))
                .transpose()?;
            let place = to.map(|to| Place::find(&objects.mesh, &to)).transpose()?;
            let meaning = details::meaning(text, details, objects, place.as_ref())?;
            written(arguments.output, &meaning, || meaning.text())
        }
    }
}

fn written(output: Output, data: &impl Serialize, text: impl Fn() -> String) -> anyhow::Result<String> {
    Ok(match output {
        Output::Text => text(),
        Output::Json => serde_json::to_string_pretty(data)? + "\n",
        Output::Yaml => serde_saphyr::to_string(data)?,
    })
}
