//! Starting a container: image, credentials, environment, volumes, root; then its program.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use daemon::clock;
use k8s_openapi::api::core::v1::Container as Spec;
use serde_json::Value;
use tokio::sync::Mutex;
use tokio_util::sync::{CancellationToken, DropGuard};

use super::Life;
use super::happen::{Happening, What};
use super::state::{Ended, Run};
use crate::api::client::{Object, Query};
use crate::api::gvr::SERVICES;
use crate::kubelet::container::inside::{Inside, Program, Stdin};
use crate::kubelet::container::root::{Mount, PROGRAMS, Root};
use crate::kubelet::container::{Container, Signals, Supervised};
use crate::kubelet::environment::{self, Environment, expand};
use crate::kubelet::events::Severity;
use crate::kubelet::fields::Fields;
use crate::kubelet::probes::Purpose;
use crate::kubelet::sources::InNamespace;
use crate::kubelet::volumes::mounts;
use crate::kubelet::{images, logs, security};
use crate::sys::namespaces::Users;

/// What the life of a pod keeps of a running container.
pub(super) struct Running {
    /// Which run it is.
    pub(super) run: u64,
    pub(super) signals: Arc<Mutex<Signals>>,
    /// The postStart hook has ended, or there is none.
    pub(super) hooked: bool,
    /// The startup probe has succeeded, or there is none.
    pub(super) startup_passed: bool,
    /// Where the program writes its termination message.
    pub(super) termination: PathBuf,
    /// Ends the container's probes and hooks with this.
    pub(super) alive: CancellationToken,
    pub(super) _end: DropGuard,
}

/// Why a container could not be started.
enum Refused {
    Image(String),
    /// Something that its settings refer to.
    Settings(String),
    Start(anyhow::Error),
}

impl Life {
    pub(super) async fn start(&mut self, position: usize) {
        match self.try_start(position).await {
            Ok(()) => {}
            Err(Refused::Image(why)) => {
                self.event_of(position, Severity::Warning, "Failed", why.clone());
                self.event_of(
                    position,
                    Severity::Warning,
                    "Failed",
                    "Error: ErrImagePull".to_owned(),
                );
                let member = &mut self.members[position];
                member.wait("ErrImagePull", why);
                member.postpone(clock::wall());
            }
            Err(Refused::Settings(why)) => {
                self.event_of(position, Severity::Warning, "Failed", format!("Error: {why}"));
                self.members[position].wait("CreateContainerConfigError", why);
                self.retry_at = Some(clock::wall() + super::RETRY);
            }
            Err(Refused::Start(error)) => {
                let why = format!(
                    "failed to create containerd task: failed to create shim task: OCI runtime create failed: unable to start container process: {error:#}"
                );
                self.event_of(position, Severity::Warning, "Failed", format!("Error: {why}"));
                self.failed_to_start(position, why);
            }
        }
    }

    async fn try_start(&mut self, position: usize) -> Result<(), Refused> {
        let spec = self.members[position].spec.clone();
        let image = spec.image.clone().unwrap_or_default();
        let found = self.find_image(position, &image).map_err(Refused::Image)?;
        self.event_of(
            position,
            Severity::Normal,
            "Pulled",
            format!("Container image \"{image}\" already present on machine"),
        );
        let restarts = self.next_restart(position);
        let termination = self.termination_file(&spec, restarts)?;
        let (program, mut mounts) = self.make_program(&spec, &found).map_err(Refused::Settings)?;
        let message_path = spec
            .termination_message_path
            .as_deref()
            .unwrap_or("/dev/termination-log");
        mounts.push(Mount {
            source: termination.clone(),
            at: message_path.into(),
            read_only: false,
        });
        let supervised = Supervised {
            log: logs::path(&self.logs(), &spec.name, restarts),
            stdin_once: spec.stdin_once == Some(true),
            inside: Inside {
                pod: self.sandbox.as_ref().map(|sandbox| sandbox.pid),
                root: self.root(&spec, &found, mounts),
                stdin: stdin(&spec),
                program: program.clone(),
            },
        };
        self.event_of(
            position,
            Severity::Normal,
            "Created",
            format!("Created container: {}", spec.name),
        );
        let container = Container::start(&supervised).await.map_err(Refused::Start)?;
        self.event_of(
            position,
            Severity::Normal,
            "Started",
            format!("Started container {}", spec.name),
        );
        let _ = std::fs::remove_file(logs::path(&self.logs(), &spec.name, restarts - 2));
        self.programs.insert(spec.name.clone(), program);
        self.began(position, container, termination);
        Ok(())
    }

    /// The program that stands in for an image; a file of mappings that is not followed is told on the way.
    fn find_image(&self, position: usize, image: &str) -> Result<images::Program, String> {
        let view = self.node.images.look();
        for problem in view.problems {
            self.event_of(position, Severity::Warning, "BrokenImageMappings", problem);
        }
        let found = view.images.find(image).ok_or_else(|| images::unknown(image))?;
        match found.problem() {
            Some(why) => Err(images::unusable(image, &why)),
            None => Ok(found.clone()),
        }
    }

    fn began(&mut self, position: usize, container: Container, termination: PathBuf) {
        self.runs += 1;
        let (run, pid) = (self.runs, container.pid);
        let (signals, end) = container.split();
        let tell = self.tell.clone();
        self.node.tasks.spawn("container", async move {
            let exit = end.wait().await;
            let _ = tell
                .send(Happening {
                    position,
                    run,
                    what: What::Exited(exit),
                })
                .await;
        });
        let alive = CancellationToken::new();
        let spec = &self.members[position].spec;
        let hook = spec
            .lifecycle
            .as_ref()
            .and_then(|lifecycle| lifecycle.post_start.clone());
        let running = Running {
            run,
            signals: Arc::new(Mutex::new(signals)),
            hooked: hook.is_none(),
            startup_passed: spec.startup_probe.is_none(),
            termination,
            _end: alive.clone().drop_guard(),
            alive,
        };
        self.running.insert(position, running);
        let id = format!("local://{:032x}", rand::random::<u128>());
        self.members[position].begin(Run {
            id,
            pid,
            since: clock::wall(),
            started: false,
            ready: false,
        });
        self.progress(position);
        self.watch_over(position, &[Purpose::Startup]);
        if let Some(hook) = hook {
            self.run_post_start(position, &hook);
        }
    }

    fn failed_to_start(&mut self, position: usize, message: String) {
        let now = clock::wall();
        let id = format!("local://{:032x}", rand::random::<u128>());
        let member = &mut self.members[position];
        // An attempt counts as a run that ended at once.
        member.begin(Run {
            id: id.clone(),
            pid: 0,
            since: now,
            started: false,
            ready: false,
        });
        let reason = "StartError".to_owned();
        member.end(Ended {
            id,
            code: 128,
            signal: None,
            reason,
            message,
            since: Some(now),
            at: now,
        });
    }

    /// Which run the next one will be.
    fn next_restart(&self, position: usize) -> i32 {
        let member = &self.members[position];
        member.restarts + i32::from(!member.fresh())
    }

    fn termination_file(&self, spec: &Spec, restarts: i32) -> Result<PathBuf, Refused> {
        use std::os::unix::fs::PermissionsExt;
        let directory = self.node.paths.of_pod(&self.uid).join("termination");
        let path = directory.join(format!("{}.{restarts}", spec.name));
        let make = || {
            std::fs::create_dir_all(&directory)?;
            std::fs::write(&path, [])?;
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o666))
        };
        make().map_err(|error| Refused::Start(error.into()))?;
        Ok(path)
    }

    fn make_program(&self, spec: &Spec, image: &images::Program) -> Result<(Program, Vec<Mount>), String> {
        let credentials = security::credentials(&self.pod, spec, self.node.users)?;
        let address = self.facts.address.clone().unwrap_or_default();
        let fields = Fields {
            pod: &self.pod,
            pod_address: &address,
            node_address: &self.facts.node_address,
        };
        let sources = InNamespace {
            client: &self.node.client,
            namespace: &self.about.namespace,
        };
        let home = if credentials.user == 0 { "/root" } else { "/" };
        let mut base = self.base_environment(image, home);
        if spec.tty == Some(true) {
            base.insert("TERM".to_owned(), "xterm".to_owned());
        }
        let environment = environment::resolve(spec, base, fields, &sources)?;
        let mounts = mounts::of_container(spec, &environment, |name| self.volumes.get(name))?;
        let workdir = spec
            .working_dir
            .clone()
            .filter(|path| !path.is_empty())
            .unwrap_or_else(|| image.workdir.clone());
        let program = Program {
            argv: command_line(spec, image, &environment),
            workdir: Path::new("/").join(workdir),
            environment,
            credentials,
        };
        Ok((program, mounts))
    }

    /// What every program finds: search path, names, services, and what its image brings.
    fn base_environment(&self, image: &images::Program, home: &str) -> Environment {
        let spec = self.pod.spec.as_ref();
        let links = spec.is_none_or(|spec| spec.enable_service_links != Some(false));
        let own = if links {
            self.services(&self.about.namespace)
        } else {
            Vec::new()
        };
        let kubernetes = self.node.client.get(&SERVICES, "default", "kubernetes").ok();
        let services = own.iter().chain(&kubernetes).map(|object| -> &Value { object });
        let mut environment = environment::of_services(services);
        let path = format!("{PROGRAMS}:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin");
        let hostname = crate::kubelet::etc::hostname(&self.pod);
        environment.extend(
            [("PATH", path), ("HOSTNAME", hostname), ("HOME", home.to_owned())]
                .map(|(name, value)| (name.to_owned(), value)),
        );
        if self.node.users == Users::One {
            // Files cannot be given to anybody else: tar, which `kubectl cp` runs here as root, must not try to.
            environment.extend([("TAR_OPTIONS".to_owned(), "--no-same-owner".to_owned())]);
        }
        environment.extend(image.env.clone());
        environment
    }

    fn services(&self, namespace: &str) -> Vec<Object> {
        self.node
            .client
            .list(&SERVICES, namespace, &Query::default())
            .map(|list| list.items)
            .unwrap_or_default()
    }

    fn root(&self, spec: &Spec, image: &images::Program, mounts: Vec<Mount>) -> Root {
        let paths = &self.node.paths;
        let own = spec.security_context.as_ref();
        Root {
            scratch: paths.scratch(),
            hidden: vec![paths.home.clone()],
            exposed: images::visible::of(image, &paths.home),
            binary: paths.binary.clone(),
            commands: self.node.images.commands().to_vec(),
            etc: self.etc(),
            mounts,
            read_only: own.is_some_and(|own| own.read_only_root_filesystem == Some(true)),
        }
    }
}

/// A terminal is read from, whoever writes to it.
fn stdin(spec: &Spec) -> Stdin {
    match (spec.tty, spec.stdin) {
        (Some(true), _) => Stdin::Terminal,
        (_, Some(true)) => Stdin::Pipe,
        _ => Stdin::Nothing,
    }
}

/// `command` replaces entry point and arguments of the image, `args` its arguments.
fn command_line(spec: &Spec, image: &images::Program, environment: &BTreeMap<String, String>) -> Vec<String> {
    let stated = |list: &Option<Vec<String>>| list.clone().filter(|list| !list.is_empty());
    let (command, arguments) = match (stated(&spec.command), stated(&spec.args)) {
        (Some(command), arguments) => (command, arguments.unwrap_or_default()),
        (None, Some(arguments)) => (image.argv.clone(), arguments),
        (None, None) => return [image.argv.clone(), image.args.clone()].concat(),
    };
    command
        .iter()
        .chain(&arguments)
        .map(|word| expand(word, environment))
        .collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn command_and_arguments_replace_what_the_image_says() {
        let words = |list: &[&str]| list.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>();
        let image = images::Program {
            argv: words(&["entry"]),
            args: words(&["a"]),
            ..images::Program::default()
        };
        let line = |spec: Value| {
            let environment = [("X".to_owned(), "1".to_owned())].into();
            command_line(&serde_json::from_value(spec).unwrap(), &image, &environment)
        };
        assert_eq!(line(json!({"name": "c"})), ["entry", "a"]);
        assert_eq!(line(json!({"name": "c", "args": ["b$(X)"]})), ["entry", "b1"]);
        assert_eq!(line(json!({"name": "c", "command": ["sh"]})), ["sh"]);
        assert_eq!(
            line(json!({"name": "c", "command": ["sh"], "args": ["-c"]})),
            ["sh", "-c"]
        );
    }
}
