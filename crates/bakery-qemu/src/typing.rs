//! What a person would type into a machine that boots: Packer's language for it (`bootcommand` in its plugin SDK), and
//! QEMU's names of keys (`QKeyCode` in its QMP reference), as they lie on a keyboard of the United States.

use std::time::Duration;

use bakery_lang::hcl::go_duration;
use serde_json::json;

use crate::{Control, Error, Result};

/// Something that is done to a keyboard.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Stroke {
    /// Keys are pressed together and let go.
    Press(Vec<&'static str>),
    /// A key is pressed and stays down.
    Down(&'static str),
    /// A key is let go.
    Up(&'static str),
    /// Nothing is done for a while.
    Wait(Duration),
}

/// Keys with names, in lower case, and QEMU's names of them.
const NAMED: &[(&str, &str)] = &[
    ("bs", "backspace"),
    ("del", "delete"),
    ("down", "down"),
    ("end", "end"),
    ("enter", "ret"),
    ("return", "ret"),
    ("esc", "esc"),
    ("f1", "f1"),
    ("f2", "f2"),
    ("f3", "f3"),
    ("f4", "f4"),
    ("f5", "f5"),
    ("f6", "f6"),
    ("f7", "f7"),
    ("f8", "f8"),
    ("f9", "f9"),
    ("f10", "f10"),
    ("f11", "f11"),
    ("f12", "f12"),
    ("home", "home"),
    ("insert", "insert"),
    ("left", "left"),
    ("leftalt", "alt"),
    ("leftctrl", "ctrl"),
    ("leftshift", "shift"),
    ("leftsuper", "meta_l"),
    ("menu", "menu"),
    ("pagedown", "pgdn"),
    ("pageup", "pgup"),
    ("right", "right"),
    ("rightalt", "alt_r"),
    ("rightctrl", "ctrl_r"),
    ("rightshift", "shift_r"),
    ("rightsuper", "meta_r"),
    ("spacebar", "spc"),
    ("tab", "tab"),
    ("up", "up"),
];

/// Keys of the letters and digits, whose names they are.
const PLAIN: &[&str] = &[
    "a", "b", "c", "d", "e", "f", "g", "h", "i", "j", "k", "l", "m", "n", "o", "p", "q", "r", "s", "t", "u",
    "v", "w", "x", "y", "z", "0", "1", "2", "3", "4", "5", "6", "7", "8", "9",
];

/// Other keys: the sign, the one with the shift key, QEMU's name.
const SIGNS: &[(char, char, &str)] = &[
    ('`', '~', "grave_accent"),
    ('-', '_', "minus"),
    ('=', '+', "equal"),
    ('[', '{', "bracket_left"),
    (']', '}', "bracket_right"),
    ('\\', '|', "backslash"),
    (';', ':', "semicolon"),
    ('\'', '"', "apostrophe"),
    (',', '<', "comma"),
    ('.', '>', "dot"),
    ('/', '?', "slash"),
    (' ', ' ', "spc"),
    ('\n', '\n', "ret"),
    ('\t', '\t', "tab"),
];

/// What the digits are with the shift key.
const SHIFTED_DIGITS: &str = ")!@#$%^&*(";

/// The key of a sign, and whether the shift key is held.
fn key_of(sign: char) -> Option<(&'static str, bool)> {
    let plain = |name: char| PLAIN.iter().copied().find(|key| key.chars().eq([name]));
    if let Some(key) = plain(sign) {
        return Some((key, false));
    }
    if sign.is_ascii_uppercase() {
        return plain(sign.to_ascii_lowercase()).map(|key| (key, true));
    }
    if let Some(digit) = SHIFTED_DIGITS.chars().position(|shifted| shifted == sign) {
        return PLAIN.get(26 + digit).map(|key| (*key, true));
    }
    SIGNS
        .iter()
        .find(|(one, other, _)| *one == sign || *other == sign)
        .map(|(one, _, key)| (*key, *one != sign))
}

/// The strokes of a command such as `<esc><wait5>auto url=http://10.0.2.2/<enter>`.
///
/// # Errors
/// A sign that is on no key.
pub fn strokes(command: &str) -> Result<Vec<Stroke>> {
    let mut out = Vec::new();
    let mut rest = command;
    while let Some(first) = rest.chars().next() {
        if first == '<'
            && let Some(end) = rest.find('>')
            && let Some(stroke) = special(&rest[1..end])
        {
            out.push(stroke);
            rest = &rest[end + 1..];
            continue;
        }
        let (key, shifted) = key_of(first).ok_or_else(|| {
            Error::new(format!("`boot_command` has the sign `{first}`, which is on no key"))
        })?;
        out.push(Stroke::Press(if shifted { vec!["shift", key] } else { vec![key] }));
        rest = &rest[first.len_utf8()..];
    }
    Ok(out)
}

/// What stands in angle brackets; nothing if it is text that happens to.
fn special(name: &str) -> Option<Stroke> {
    let name = name.to_lowercase();
    if let Some(time) = name.strip_prefix("wait") {
        return wait(time).map(Stroke::Wait);
    }
    let named = |name: &str| {
        let found = NAMED.iter().find(|(known, _)| *known == name).map(|(_, key)| *key);
        let mut signs = name.chars();
        found.or_else(|| match (signs.next(), signs.next()) {
            (Some(sign), None) => key_of(sign).map(|(key, _)| key),
            _ => None,
        })
    };
    if let Some(key) = NAMED.iter().find(|(known, _)| *known == name).map(|(_, key)| *key) {
        return Some(Stroke::Press(vec![key]));
    }
    name.strip_suffix("on")
        .and_then(named)
        .map(Stroke::Down)
        .or_else(|| name.strip_suffix("off").and_then(named).map(Stroke::Up))
}

/// A time as it follows `wait`: nothing is a second, a number is seconds, else as Go writes times (`1m20s`).
fn wait(text: &str) -> Option<Duration> {
    if text.is_empty() {
        return Some(Duration::from_secs(1));
    }
    match text.parse() {
        Ok(seconds) => Some(Duration::from_secs(seconds)),
        Err(_) => go_duration(text).ok()?.try_into().ok(),
    }
}

impl Control {
    /// Does a stroke. Times are the caller's: nothing is done of one here.
    ///
    /// # Errors
    /// When the machine refuses it or is gone.
    pub fn strike(&mut self, stroke: &Stroke) -> Result<()> {
        let event = |key: &str, down: bool| json!({ "type": "key", "data": { "down": down, "key": { "type": "qcode", "data": key } } });
        let events = match stroke {
            Stroke::Press(keys) => {
                let down = keys.iter().map(|key| event(key, true));
                down.chain(keys.iter().rev().map(|key| event(key, false))).collect()
            }
            Stroke::Down(key) => vec![event(key, true)],
            Stroke::Up(key) => vec![event(key, false)],
            Stroke::Wait(_) => return Ok(()),
        };
        self.execute("input-send-event", json!({ "events": events })).map(|_| ())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_become_strokes() {
        let seconds = |s: u64| Stroke::Wait(Duration::from_secs(s));
        let cases: &[(&str, Vec<Stroke>)] = &[
            ("<esc><wait>a", vec![Stroke::Press(vec!["esc"]), seconds(1), Stroke::Press(vec!["a"])]),
            ("<wait10><WAIT1m20s>", vec![seconds(10), seconds(80)]),
            (
                "A_?",
                vec![
                    Stroke::Press(vec!["shift", "a"]),
                    Stroke::Press(vec!["shift", "minus"]),
                    Stroke::Press(vec!["shift", "slash"]),
                ],
            ),
            (
                "<leftCtrlOn>c<leftCtrlOff>",
                vec![Stroke::Down("ctrl"), Stroke::Press(vec!["c"]), Stroke::Up("ctrl")],
            ),
            ("<cOn><cOff>", vec![Stroke::Down("c"), Stroke::Up("c")]),
            (
                "<x>",
                vec![
                    Stroke::Press(vec!["shift", "comma"]),
                    Stroke::Press(vec!["x"]),
                    Stroke::Press(vec!["shift", "dot"]),
                ],
            ),
            (")!", vec![Stroke::Press(vec!["shift", "0"]), Stroke::Press(vec!["shift", "1"])]),
        ];
        for (command, expected) in cases {
            assert_eq!(&strokes(command).expect("known"), expected, "{command}");
        }
        assert!(strokes("é").is_err());
    }
}
