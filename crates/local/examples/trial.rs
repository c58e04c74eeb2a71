//! Hand trial; deleted before the branch is finished.
use std::process::ExitCode;
fn main() -> ExitCode {
    let args: Vec<_> = std::env::args_os().collect();
    if let Some(code) = local::entry(&args) {
        return code;
    }
    let home = std::path::PathBuf::from(&args[2]);
    match args[1].to_str().unwrap() {
        "up" => {
            let mut images = local::kubelet::images::Images::default();
            images.insert_mapping("busy=/usr/bin/sleep 1000").unwrap();
            images.add_command("trial");
            let settings = local::launch::Settings {
                home,
                images,
                detach: args.len() > 3,
                port: None,
            };
            match local::launch::launch(&settings) {
                Ok(mut cluster) => {
                    println!("up: {:?}", cluster);
                    if !settings.detach {
                        let _ = std::io::stdin().read_line(&mut String::new());
                        println!("{:?}", cluster.stop());
                    } else {
                        let _ = &mut cluster;
                    }
                }
                Err(error) => println!("error: {error:#}"),
            }
        }
        _ => println!("{:?}", local::launch::stop(&home)),
    }
    ExitCode::SUCCESS
}
