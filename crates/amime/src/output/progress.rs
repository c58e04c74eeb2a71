//! One line that says what is being waited for: rewritten on a terminal, printed once elsewhere.

use std::io::{IsTerminal, Write};
use std::time::Duration;

use daemon::clock;

/// Waits for `work`, showing `what` and, on a terminal, the seconds that it takes.
pub(crate) async fn show<T>(what: &str, work: impl Future<Output = T>) -> T {
    let begin = clock::now();
    let terminal = std::io::stderr().is_terminal();
    let mut work = std::pin::pin!(work);
    loop {
        let line = format!("{what} … {:.0} s", begin.elapsed().as_secs_f64());
        if terminal {
            eprint!("\r{line}");
            let _ = std::io::stderr().flush();
        }
        tokio::select! {
            biased;
            done = &mut work => {
                let took = begin.elapsed().as_secs_f64();
                eprintln!("{}{what} ({took:.1} s)   ", if terminal { "\r" } else { "" });
                return done;
            }
            () = clock::sleep(Duration::from_secs(1)) => {}
        }
    }
}
