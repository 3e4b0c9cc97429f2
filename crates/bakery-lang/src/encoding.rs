//! Text in the encodings that options such as `encoding` name, by Python's names for them.

use encoding_rs::Encoding;

/// An encoding: Latin-1, whose bytes are the numbers of their characters, or one that browsers know, too.
enum Known {
    Latin1,
    Other(&'static Encoding),
}

fn find(name: &str) -> Option<Known> {
    let plain = name.trim().to_lowercase().replace('_', "-");
    match plain.as_str() {
        "latin-1" | "latin1" | "iso8859-1" | "iso-8859-1" | "l1" => return Some(Known::Latin1),
        "utf-16-le" => return Some(Known::Other(encoding_rs::UTF_16LE)),
        "utf-16-be" => return Some(Known::Other(encoding_rs::UTF_16BE)),
        "utf8" | "u8" | "utf" | "utf-8-sig" => return Some(Known::Other(encoding_rs::UTF_8)),
        _ => {}
    }
    // Python writes `cp1252` and `gb2312`, browsers `windows-1252` and the like.
    let other = plain.strip_prefix("cp").map(|number| format!("windows-{number}"));
    Encoding::for_label(plain.as_bytes())
        .or_else(|| Encoding::for_label(other?.as_bytes()))
        .or_else(|| Encoding::for_label(plain.replace("iso8859", "iso-8859").as_bytes()))
        .map(Known::Other)
}

/// The text of bytes. `Ok(None)` when they are none in this encoding.
///
/// # Errors
/// With Python's words for a name that is not known.
pub fn decode(name: &str, bytes: &[u8]) -> Result<Option<String>, String> {
    match find(name).ok_or_else(|| format!("unknown encoding: {name}"))? {
        Known::Latin1 => Ok(Some(bytes.iter().map(|byte| char::from(*byte)).collect())),
        Known::Other(encoding) => {
            Ok(encoding.decode_without_bom_handling_and_without_replacement(bytes).map(Into::into))
        }
    }
}

/// The bytes of a text. `Ok(None)` when the encoding does not have its characters.
///
/// # Errors
/// With Python's words for a name that is not known.
pub fn encode(name: &str, text: &str) -> Result<Option<Vec<u8>>, String> {
    match find(name).ok_or_else(|| format!("unknown encoding: {name}"))? {
        Known::Latin1 => Ok(text.chars().map(|c| u8::try_from(c).ok()).collect()),
        // Writers for UTF-16 are no part of what browsers need.
        Known::Other(encoding) if encoding == encoding_rs::UTF_16LE => {
            Ok(Some(text.encode_utf16().flat_map(u16::to_le_bytes).collect()))
        }
        Known::Other(encoding) if encoding == encoding_rs::UTF_16BE => {
            Ok(Some(text.encode_utf16().flat_map(u16::to_be_bytes).collect()))
        }
        Known::Other(encoding) => {
            let (bytes, _, is_lossy) = encoding.encode(text);
            Ok((!is_lossy).then(|| bytes.into_owned()))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{decode, encode};

    #[test]
    fn encodings_go_there_and_back() {
        for (name, text) in
            [("gbk", "你好"), ("latin-1", "é"), ("windows-1252", "€"), ("cp1251", "да"), ("utf-16-le", "a")]
        {
            let bytes = encode(name, text).expect(name).expect("has these letters");
            assert_eq!(decode(name, &bytes).expect(name).as_deref(), Some(text), "{name}");
        }
        assert_eq!(encode("latin-1", "你"), Ok(None));
        assert_eq!(decode("utf-8", b"\xc4\xe3\xba"), Ok(None));
        assert!(decode("nonsense", b"").is_err());
    }
}
