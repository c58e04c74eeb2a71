//! The fuzzer: `fuzz TARGET` by the variable `FUZZ_TARGET`, as libFuzzer keeps the arguments for itself.
//!
//! What the targets do stands in the crates themselves ([`proxy::fuzzing`]), so that `cargo test` replays the corpora.
#![no_main]

use std::sync::OnceLock;

static TARGET: OnceLock<fn(&[u8])> = OnceLock::new();

fn chosen() -> fn(&[u8]) {
    let name = std::env::var("FUZZ_TARGET").expect("cargo xtask fuzz TARGET sets it");
    match name.as_str() {
        "yaml" => |bytes| {
            if let Ok(text) = std::str::from_utf8(bytes) {
                resources::yaml::read(text);
                resources::yaml::objects(text);
            }
        },
        name => proxy::fuzzing::target(name).expect("one of cargo xtask fuzz list"),
    }
}

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    TARGET.get_or_init(chosen)(bytes);
});
