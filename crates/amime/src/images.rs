//! Which program stands in for which image: our own, and the samples.

use std::ffi::OsString;
use std::path::Path;
use std::process::ExitCode;

use anyhow::Context;
use local::kubelet::images::{Images, Program};

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

/// The table of images: built in, then the user's file, then the user's `--image` flags; later ones win.
pub(crate) fn table(mappings: &[String], file: Option<&Path>) -> anyhow::Result<Images> {
    let mut images = Images::default();
    images.add_command("amime");
    for name in OURS {
        images.insert(name, program("amime", &[]));
    }
    for sample in samples::PROGRAMS {
        images.add_command(sample.name);
        for image in sample.images {
            let program = Program {
                env: image
                    .environment
                    .iter()
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
    if let Some(path) = file {
        let text =
            std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
        images
            .insert_yaml(&text)
            .with_context(|| path.display().to_string())?;
    }
    for mapping in mappings {
        images.insert_mapping(mapping)?;
    }
    Ok(images)
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
    fn the_images_of_the_article_and_of_the_mesh_are_there() {
        let images = table(&[], None).unwrap();
        let program = images.find("h3poteto/playground-echo-go:master").unwrap();
        assert_eq!(program.argv, ["playground-echo"]);
        assert!(images.find("docker.io/amime/proxyv2:1.0").is_some());
        assert!(images.find("nosuch").is_none());
    }

    #[test]
    fn a_mapping_of_the_user_wins() {
        let images = table(&["curl=/bin/true".to_owned()], None).unwrap();
        assert_eq!(images.find("curl:8").unwrap().argv, ["/bin/true"]);
        assert!(table(&["curl".to_owned()], None).is_err());
    }
}
