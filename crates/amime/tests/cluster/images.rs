//! Programs of the user's own in the place of images, while the cluster runs.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::Duration;

use crate::harness::{Local, said, wait};

const LIMIT: Duration = Duration::from_secs(30);

fn script(path: &Path, text: &str) {
    fs::write(path, format!("#!/bin/sh\n{text}\n")).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
}

fn run(local: &Local, name: &str, image: &str) {
    let pod = format!(
        "apiVersion: v1\nkind: Pod\nmetadata: {{name: {name}}}\nspec:\n  restartPolicy: Never\n  \
         containers: [{{name: app, image: '{image}'}}]\n"
    );
    let applied = local.apply(&pod);
    assert!(applied.status.success(), "{}", said(&applied));
}

/// What a pod that ends printed.
fn printed(local: &Local, name: &str) -> String {
    wait(&format!("pod {name} to end"), LIMIT, || {
        (local.get(&["pods", name])["status"]["phase"] == "Succeeded").then_some(())
    });
    local.ok(&["logs", name])
}

fn wait_for_event(local: &Local, pod: &str, words: &[&str]) {
    wait(&format!("an event on {pod} with {words:?}"), LIMIT, || {
        let fits = |text: &str| words.iter().all(|word| text.contains(word));
        let events = local.events("default", pod);
        events
            .iter()
            .any(|(reason, message)| fits(&format!("{reason} {message}")))
            .then_some(())
    });
}

#[test]
fn programs_of_the_user_s_own_run_from_flags_and_from_files_that_change() {
    // In /tmp, which containers have for themselves.
    let folder = tempfile::tempdir().unwrap();
    let place = folder.path();
    fs::create_dir(place.join("app")).unwrap();
    script(
        &place.join("app/one.sh"),
        "cat \"$(dirname \"$0\")/beside\"; echo \"$WORD $* $PWD\"",
    );
    fs::write(place.join("app/beside"), "what lies beside\n").unwrap();
    let table = place.join("mappings.yaml");
    fs::write(
        &table,
        "acme/one:\n  program: app/one.sh\n  arguments: [a, b]\n  environment: {WORD: hello}\n  workingDirectory: app\n",
    )
    .unwrap();
    let flag = format!("acme/flag={} from-flag", place.join("app/one.sh").display());
    let local = Local::up(&["--images", table.to_str().unwrap(), "--image", &flag]);

    run(&local, "one", "docker.io/acme/one:v7");
    let app = place.join("app").display().to_string();
    assert_eq!(
        printed(&local, "one"),
        format!("what lies beside\nhello a b {app}\n")
    );
    run(&local, "flag", "acme/flag");
    assert_eq!(printed(&local, "flag"), "what lies beside\n from-flag /\n");

    run(&local, "later", "acme/later");
    wait_for_event(&local, "later", &["Failed", "--image acme/later=PROGRAM"]);
    script(&place.join("app/later.sh"), "echo later");
    fs::write(
        local.home().join("images.yaml"),
        format!("acme/later: {app}/later.sh\n"),
    )
    .unwrap();
    assert_eq!(printed(&local, "later"), "later\n");

    fs::write(&table, "acme/one:\n  program: app/one.sh\n  argumens: [x]\n").unwrap();
    run(&local, "still", "acme/one");
    assert!(printed(&local, "still").contains("hello a b"));
    wait_for_event(
        &local,
        "still",
        &["BrokenImageMappings", "mappings.yaml", "line 3", "argumens"],
    );

    fs::write(&table, "acme/missing: app/nosuch\nacme/data: app/beside\n").unwrap();
    run(&local, "missing", "acme/missing");
    wait_for_event(&local, "missing", &["Failed", "app/nosuch does not exist"]);
    run(&local, "data", "acme/data");
    wait_for_event(&local, "data", &["Failed", "app/beside is not executable"]);
    let state =
        local.get(&["pods", "data"])["status"]["containerStatuses"][0]["state"]["waiting"]["reason"].clone();
    assert!(state == "ErrImagePull" || state == "ImagePullBackOff", "{state}");
}
