//! A page as a browser shows it: headless Chromium makes a PNG, and enough of PNG is read here to say what is on it.
//! <https://www.w3.org/TR/png-3/>

use std::collections::HashSet;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use flate2::read::ZlibDecoder;

use crate::harness::wait;

const SIZE: (usize, usize) = (1280, 900);
const LIMIT: Duration = Duration::from_secs(60);
/// A blank page has one colour; text with smoothed edges has hundreds.
const COLOURS: usize = 50;

/// The colour of v3's stars.
pub(crate) const STAR_RED: [u8; 3] = [0xc9, 0x34, 0x2f];

/// A picture of a page.
pub(crate) struct Picture {
    size: (usize, usize),
    pixels: Vec<[u8; 3]>,
}

/// Shows a page; the picture stays in `target/screenshots`.
pub(crate) fn screenshot(url: &str, name: &str) -> Picture {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR"))
        .parent()
        .unwrap()
        .join("screenshots");
    std::fs::create_dir_all(&folder).unwrap();
    let path = folder.join(name);
    let _ = std::fs::remove_file(&path);
    let profile = tempfile::tempdir().unwrap();
    let mut browser = Command::new(program())
        .args([
            "--headless=new",
            "--no-sandbox",
            "--disable-gpu",
            "--hide-scrollbars",
            "--no-first-run",
        ])
        .args([
            "--disable-background-networking",
            "--disable-component-update",
            "--no-proxy-server",
        ])
        .arg(format!("--window-size={},{}", SIZE.0, SIZE.1))
        .arg(format!("--user-data-dir={}", profile.path().display()))
        .arg(format!("--screenshot={}", path.display()))
        .arg(url)
        .env("HOME", profile.path())
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("Chromium starts");
    let status = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        wait("Chromium's screenshot", LIMIT, || browser.try_wait().unwrap())
    }));
    let status = status.unwrap_or_else(|panic| {
        let _ = browser.kill();
        std::panic::resume_unwind(panic)
    });
    assert!(status.success(), "Chromium ended with {status}");
    let picture = read(&std::fs::read(&path).expect("Chromium wrote the picture"));
    assert_eq!(picture.size, SIZE);
    let colours = picture.pixels.iter().collect::<HashSet<_>>().len();
    assert!(
        colours > COLOURS,
        "the page is blank: {colours} colours in {}",
        path.display()
    );
    picture
}

fn program() -> PathBuf {
    std::env::var_os("CHROMIUM").map_or_else(|| PathBuf::from("chromium"), PathBuf::from)
}

impl Picture {
    /// Pixels of a colour, up to a little smoothing.
    pub(crate) fn pixels_like(&self, colour: [u8; 3]) -> usize {
        let near = |pixel: &&[u8; 3]| pixel.iter().zip(colour).all(|(a, b)| a.abs_diff(b) <= 8);
        self.pixels.iter().filter(near).count()
    }
}

/// Eight bits, RGB or RGBA, not interlaced: what Chromium writes.
fn read(png: &[u8]) -> Picture {
    let mut rest = png.strip_prefix(b"\x89PNG\r\n\x1a\n").expect("a PNG");
    let (mut head, mut packed) = (Vec::new(), Vec::new());
    while rest.len() >= 12 {
        let length = u32::from_be_bytes(rest[..4].try_into().unwrap()) as usize;
        let (kind, data) = (&rest[4..8], &rest[8..8 + length]);
        match kind {
            b"IHDR" => head = data.to_vec(),
            b"IDAT" => packed.extend_from_slice(data),
            _ => {}
        }
        rest = &rest[12 + length..];
    }
    let number = |at: usize| u32::from_be_bytes(head[at..at + 4].try_into().unwrap()) as usize;
    let size = (number(0), number(4));
    let depth = match head[8..] {
        [8, 2, 0, 0, 0] => 3,
        [8, 6, 0, 0, 0] => 4,
        _ => panic!("a kind of PNG that Chromium does not write: {head:?}"),
    };
    let mut bytes = Vec::new();
    ZlibDecoder::new(packed.as_slice())
        .read_to_end(&mut bytes)
        .unwrap();
    let lines = unfiltered(&bytes, size, depth);
    let pixels = lines
        .chunks_exact(depth)
        .map(|pixel| [pixel[0], pixel[1], pixel[2]])
        .collect();
    Picture { size, pixels }
}

/// Each line says how it was written: as it is, or as differences to left, above, both, or the nearer of them.
fn unfiltered(bytes: &[u8], (width, height): (usize, usize), depth: usize) -> Vec<u8> {
    let length = width * depth;
    let mut out = vec![0; length * height];
    for (row, line) in bytes.chunks_exact(length + 1).enumerate() {
        for at in 0..length {
            let before = |back: usize, up: usize| {
                (at >= back && row >= up)
                    .then(|| out[(row - up) * length + at - back])
                    .unwrap_or_default()
            };
            let (left, above, corner) = (before(depth, 0), before(0, 1), before(depth, 1));
            let guess = match line[0] {
                0 => 0,
                1 => left,
                2 => above,
                3 => u8::midpoint(left, above),
                _ => nearest(left, above, corner),
            };
            // The first pixel of `before(0, 1)` in the first row is nothing, as the standard says.
            out[row * length + at] = line[at + 1].wrapping_add(guess);
        }
    }
    out
}

/// Paeth's predictor.
fn nearest(left: u8, above: u8, corner: u8) -> u8 {
    let guess = i16::from(left) + i16::from(above) - i16::from(corner);
    let far = |byte: u8| (guess - i16::from(byte)).abs();
    let (by_left, by_above, by_corner) = (far(left), far(above), far(corner));
    if by_left <= by_above && by_left <= by_corner {
        left
    } else if by_above <= by_corner {
        above
    } else {
        corner
    }
}
