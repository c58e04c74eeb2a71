//! Short names for templates, as Kubernetes writes them: FNV-1a in letters that spell no words.

/// The hash of a text, and of how often another text had the same one.
pub(super) fn of(text: &str, collisions: i64) -> String {
    let suffix = if collisions > 0 {
        collisions.to_string()
    } else {
        String::new()
    };
    safe_letters(fnv1a(text.bytes().chain(suffix.bytes())))
}

/// FNV-1a, 32 bits.
fn fnv1a(bytes: impl Iterator<Item = u8>) -> u32 {
    bytes.fold(0x811c_9dc5, |hash, byte| {
        (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193)
    })
}

fn safe_letters(number: u32) -> String {
    const LETTERS: &[u8] = b"bcdfghjklmnpqrstvwxz2456789";
    let digits = number.to_string();
    digits
        .bytes()
        .map(|digit| char::from(LETTERS[usize::from(digit) % LETTERS.len()]))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_made_of_safe_letters() {
        // The digits 0 to 9 are the bytes 48 to 57, and 48 modulo 27 is 21.
        assert_eq!(safe_letters(4_294_967_295), "86f8fbc6f9");
    }

    #[test]
    fn a_collision_gives_another_name() {
        assert_eq!(of("template", 0), of("template", 0));
        assert_ne!(of("template", 0), of("template", 1));
    }
}
