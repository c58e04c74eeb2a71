//! Which program stands in for which image: our own, and the samples.

use std::ffi::OsString;
use std::path::Path;
use std::process::ExitCode;

use anyhow::Context;
use local::kubelet::images::{Images, Layers, MappingFile, Program};
use local::launch::MAPPINGS;

/// Images of the mesh itself: controller and proxy are this binary.
const OURS: &[&str] = &["amime/pilot", "amime/proxyv2"];

/// Runs a sample when the binary was called by its name, or as `amime sample NAME …`.
pub(crate) fn run_sample(words: &[OsString]) -> Option<ExitCode> {
    let text = |word: &OsString| word.to_string_lossy().into_owned();
    let called = words
        .first()
        .map(|word| Path::new(word).file_name().unwrap_or_default().to_os_string())?;
    let rest = |from: usize| words.iter().skip(from).map(text).collect();
    if words.get(1).is_some_and(|word| word == "sample") {
        let name = words.get(2).map(text).unwrap_or_default();
        return samples::run(&name, rest(3)).or_else(|| {
            eprintln!(
                "amime sample: there is no sample {name:?}; there are: {}",
                names().join(", ")
            );
            Some(ExitCode::from(64))
        });
    }
    samples::run(&text(&called), rest(1))
}

fn names() -> Vec<&'static str> {
    samples::PROGRAMS.iter().map(|program| program.name).collect()
}

/// The images of a cluster: built in, then the mappings of its state directory, then those of the user's file, then
/// the user's `--image` flags; later ones win. Files are read again while the cluster runs.
pub(crate) fn layers(home: &Path, mappings: &[String], file: Option<&Path>) -> anyhow::Result<Layers> {
    let here = std::env::current_dir().context("the current directory is gone")?;
    let mut flags = Images::default();
    for mapping in mappings {
        flags.insert_mapping(mapping, &here)?;
    }
    let mut files = vec![MappingFile {
        path: here.join(home).join(MAPPINGS),
        required: false,
    }];
    files.extend(file.map(|path| MappingFile {
        path: here.join(path),
        required: true,
    }));
    let layers = Layers {
        built_in: built_in(),
        files,
        flags,
    };
    layers.check()?;
    Ok(layers)
}

/// What there is without any mapping.
pub(crate) fn built_in() -> Images {
    let mut images = Images::default();
    images.add_command("amime");
    for name in OURS {
        images.insert(name, program("amime", &[]));
    }
    for sample in samples::PROGRAMS {
        images.add_command(sample.name);
        for image in sample.images {
            let pairs = image.environment.iter();
            let program = Program {
                env: pairs
                    .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
                    .collect(),
                ..program(sample.name, image.arguments)
            };
            image
                .names()
                .iter()
                .for_each(|name| images.insert(name, program.clone()));
        }
    }
    images
}

fn program(name: &str, arguments: &[&str]) -> Program {
    Program {
        argv: vec![name.to_owned()],
        args: arguments.iter().map(|argument| (*argument).to_owned()).collect(),
        ..Program::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn images_are_known_under_all_names_that_they_are_published_by() {
        let images = built_in();
        let program = images.find("h3poteto/playground-echo-go:master").unwrap();
        assert_eq!(program.argv, ["playground-echo"]);
        for name in [
            "docker.io/amime/proxyv2:1.0",
            "docker.io/istio/examples-bookinfo-reviews-v3:1.20.3",
            "istio/examples-bookinfo-reviews-v3",
            "registry.istio.io/release/examples-bookinfo-reviews-v3:1.20.3@sha256:00",
            "docker.io/mccutchen/go-httpbin:v2.15.0",
            "docker.io/kong/httpbin:0.1.0",
            "curlimages/curl:8.16.0",
            "docker.io/fortio/fortio:latest_release",
            "registry.istio.io/release/tcp-echo-server:1.3",
            "gcr.io/istio-testing/ext-authz:latest",
            "registry.k8s.io/gateway-api/echo-basic:v1",
        ] {
            assert!(images.find(name).is_some(), "{name}");
        }
        let reviews = images.find("istio/examples-bookinfo-reviews-v3").unwrap();
        assert_eq!(reviews.env["STAR_COLOR"], "red");
        assert!(images.find("nosuch").is_none());
    }

    #[test]
    fn mistakes_in_mappings_are_told_before_anything_starts() {
        let home = tempfile::tempdir().unwrap();
        let layers = |mappings: &[&str], file: Option<&Path>| {
            let mappings: Vec<String> = mappings.iter().map(|mapping| (*mapping).to_owned()).collect();
            layers(home.path(), &mappings, file)
        };
        assert!(layers(&["curl=/bin/true"], None).is_ok());
        assert!(layers(&["curl"], None).is_err());
        assert!(layers(&[], Some(Path::new("/nosuch.yaml"))).is_err());
        std::fs::write(home.path().join(MAPPINGS), "a: [").unwrap();
        assert!(layers(&[], None).unwrap_err().to_string().contains(MAPPINGS));
    }
}
