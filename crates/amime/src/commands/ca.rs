//! `amime ca status` and `amime ca rotate`: the certificate authority of the mesh, as its controller tells in ConfigMap
//! `amime-ca`. Neither reads a key: what is asked for is an annotation, and the controller does the rest.

use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, bail};
use controller::ca::status::{MAP, Phase, Progress, ROTATE, Status, Wish};
use daemon::clock;
use k8s_openapi::jiff::Timestamp;
use serde_json::{Value, json};

use crate::cli::Target;
use crate::cluster::{Cluster, text};
use crate::connect;

const LOOK: Duration = Duration::from_secs(1);
/// For the controller to see that something is asked of it.
const HEARD: Duration = Duration::from_secs(30);

#[derive(clap::Args)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    action: Action,
    /// Namespace of the control plane
    #[arg(short, long, global = true, default_value = "istio-system")]
    istio_namespace: String,
}

#[derive(clap::Subcommand)]
enum Action {
    /// Who signs, who is believed, and how far a rotation is
    Status,
    /// Replace the root: believe the new one, wait for every proxy, let it sign, wait for every certificate, remove the old one
    Rotate(Rotate),
}

#[derive(clap::Args)]
struct Rotate {
    /// Stay until the old root is removed
    #[arg(long)]
    wait: bool,
    /// Of a rotation under way: do not wait for NAMESPACE/POD (also several, by comma)
    #[arg(long, value_name = "POD", value_delimiter = ',', conflicts_with_all = ["finish", "abort"])]
    without: Vec<String>,
    /// Of a rotation under way: wait for nobody. Proxies that are not ready for it fail until they have renewed
    #[arg(long, conflicts_with = "abort")]
    finish: bool,
    /// Leave a rotation under way, as long as the old root signs
    #[arg(long, conflicts_with = "wait")]
    abort: bool,
}

impl Rotate {
    fn wish(&self) -> Wish {
        match (self.finish, self.abort) {
            (true, _) => Wish::Finish,
            (_, true) => Wish::Abort,
            _ if self.without.is_empty() => Wish::Begin,
            _ => Wish::Without(self.without.clone()),
        }
    }

    /// What has happened when it was answered.
    fn done(&self) -> &'static str {
        match (self.finish, self.abort, self.without.is_empty()) {
            (true, ..) => "The rotation waits for nobody any more; see `amime ca status`.",
            (_, true, _) => "The rotation is left: the old root signs, and is the only one.",
            (.., false) => "The rotation goes on without them; see `amime ca status`.",
            _ => "The root is being replaced; see `amime ca status`.",
        }
    }
}

pub(crate) async fn run(target: &Target, arguments: &Arguments) -> anyhow::Result<ExitCode> {
    let cluster = connect::connect(target).await?;
    let authority = Authority {
        cluster: &cluster,
        path: format!("/api/v1/namespaces/{}/configmaps", arguments.istio_namespace),
    };
    match &arguments.action {
        Action::Status => print!("{}", written(&authority.status().await?)),
        Action::Rotate(rotate) => authority.rotate(rotate).await?,
    }
    Ok(ExitCode::SUCCESS)
}

struct Authority<'a> {
    cluster: &'a Cluster,
    path: String,
}

impl Authority<'_> {
    async fn map(&self) -> anyhow::Result<Value> {
        let found = self.cluster.get(&format!("{}/{MAP}", self.path)).await;
        match found {
            Err(error) if error.is_not_found() => {
                bail!(
                    "the controller has not said anything of its certificate authority yet: is the mesh installed?"
                )
            }
            found => Ok(found?),
        }
    }

    async fn status(&self) -> anyhow::Result<Status> {
        let map = self.map().await?;
        serde_json::from_str(text(&map, "/data/status")).context("the controller's words are not understood")
    }

    async fn rotate(&self, rotate: &Rotate) -> anyhow::Result<()> {
        // Whatever differs from the last request is a new one.
        let id = format!("{}-{}", clock::unix_seconds(), std::process::id());
        let request = rotate.wish().request(&id);
        self.map().await?;
        let patch = json!({"metadata": {"annotations": {ROTATE: request}}});
        let path = format!("{}/{MAP}", self.path);
        self.cluster
            .patch(&path, "application/merge-patch+json", &patch)
            .await?;
        let deadline = clock::now() + HEARD;
        loop {
            let map = self.map().await?;
            if text(&map, "/data/answered") == request {
                break;
            }
            if clock::now() >= deadline {
                bail!("the controller does not answer: is it running?");
            }
            clock::sleep(LOOK).await;
        }
        let status = self.status().await?;
        if let Some(refused) = status.refused {
            bail!("{refused}");
        }
        println!("{}", rotate.done());
        if rotate.wait { self.watch().await } else { Ok(()) }
    }

    /// Says what happens until it is over.
    async fn watch(&self) -> anyhow::Result<()> {
        let mut said = String::new();
        loop {
            let status = self.status().await?;
            let Some(now) = progress(&status) else {
                println!("The old root is removed.");
                return Ok(());
            };
            if now != said {
                println!("{now}");
                said = now;
            }
            clock::sleep(LOOK).await;
        }
    }
}

/// What a rotation waits for, in one line; `None` when there is none.
fn progress(status: &Status) -> Option<String> {
    let Progress {
        phase, waiting_for, ..
    } = status.rotation.as_ref()?;
    let phase = match phase {
        Phase::Trusting => "both roots are believed, the old one signs",
        Phase::Renewing => "both roots are believed, the new one signs",
        Phase::Closing => "both roots are believed, nothing of the old one is in use",
    };
    Some(match waiting_for.is_empty() {
        true => phase.to_owned(),
        false => format!("{phase}; waiting: {}", waiting_for.join("; ")),
    })
}

fn written(status: &Status) -> String {
    let mut lines = vec![
        format!("Secret    {}", status.source),
        format!("Expires   {}", date(status.expires)),
    ];
    for root in &status.roots {
        let signs = if *root == status.signer { "  (signs)" } else { "" };
        lines.push(format!("Root      {root}{signs}"));
    }
    if status.revocation_lists {
        lines.push("Revoked   by the lists in ca-crl.pem".to_owned());
    }
    lines.push(format!(
        "Rotation  {}",
        progress(status).unwrap_or_else(|| "none under way".to_owned())
    ));
    if !status.mounted.is_empty() {
        lines.push(format!(
            "Mounted   {}: with certificates and roots of their own, which you replace",
            status.mounted.join(", ")
        ));
    }
    if let Some(refused) = &status.refused {
        lines.push(format!("Refused   {refused}"));
    }
    lines.join("\n") + "\n"
}

/// The day in UTC, from the seconds since 1970.
fn date(seconds: u64) -> String {
    let second = i64::try_from(seconds).unwrap_or(i64::MAX);
    let moment = Timestamp::from_second(second).unwrap_or(Timestamp::MAX);
    moment.strftime("%Y-%m-%d").to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As the controller writes it.
    fn status(told: Value) -> Status {
        serde_json::from_value(told).unwrap()
    }

    #[test]
    fn a_status_is_written_for_people() {
        let status = status(json!({
            "source": "istio-ca-secret", "signer": "aa", "expires": 2_100_000_000_u64, "roots": ["aa", "bb"],
            "revocationLists": false, "refused": null, "mounted": ["shop/vm"],
            "rotation": {"phase": "renewing", "to": "aa", "begun": 7,
                "waitingFor": ["shop/a has a certificate of the old root"]},
        }));
        assert_eq!(
            written(&status),
            "Secret    istio-ca-secret\n\
             Expires   2036-07-18\n\
             Root      aa  (signs)\n\
             Root      bb\n\
             Rotation  both roots are believed, the new one signs; waiting: shop/a has a certificate of the old root\n\
             Mounted   shop/vm: with certificates and roots of their own, which you replace\n"
        );
    }

    #[test]
    fn flags_say_what_is_wished_of_a_rotation() {
        #[derive(clap::Parser)]
        struct Line {
            #[command(flatten)]
            rotate: Rotate,
        }
        let wish = |words: &[&str]| {
            let line: Result<Line, _> = clap::Parser::try_parse_from([&["rotate"], words].concat());
            line.ok().map(|line| line.rotate.wish())
        };
        assert_eq!(wish(&[]), Some(Wish::Begin));
        assert_eq!(wish(&["--finish", "--wait"]), Some(Wish::Finish));
        assert_eq!(wish(&["--abort"]), Some(Wish::Abort));
        let names = ["shop/a", "shop/b", "shop/c"].map(str::to_owned);
        assert_eq!(
            wish(&["--without", "shop/a,shop/b", "--without", "shop/c"]),
            Some(Wish::Without(names.into()))
        );
        assert_eq!(wish(&["--abort", "--finish"]), None);
    }

    #[test]
    fn a_rotation_that_is_over_is_none() {
        assert_eq!(progress(&status(json!({"rotation": null}))), None);
        let begun =
            status(json!({"rotation": {"phase": "trusting", "to": "aa", "begun": 7, "waitingFor": []}}));
        assert_eq!(
            progress(&begun).as_deref(),
            Some("both roots are believed, the old one signs")
        );
    }

    #[test]
    fn days_are_those_of_the_calendar() {
        assert_eq!(date(0), "1970-01-01");
        assert_eq!(date(951_782_400), "2000-02-29");
        assert_eq!(date(4_102_444_800), "2100-01-01");
    }
}
