//! Differences of texts, as `diff -u` shows them.

use similar::algorithms::{Capture, Compact, Replace, myers};
use similar::udiff::UnifiedHunkHeader;
use similar::{DiffTag, group_diff_ops};

/// Lines around a change that are shown, too.
const CONTEXT: usize = 3;

/// The lines that change from one text to the other, with two lines of names before them; nothing for equal texts.
///
/// Only one of the crate's algorithms is taken, and over lines alone: all of them for every kind of text are as large as
/// a twentieth of the agent.
pub(crate) fn unified(before: &str, after: &str, names: [&str; 2]) -> String {
    let lines = |text: &'_ str| text.split_inclusive('\n').map(str::to_owned).collect::<Vec<String>>();
    let (old, new) = (lines(before), lines(after));
    let mut hook = Compact::new(Replace::new(Capture::new()), &old, &new);
    let Ok(()) = myers::diff(&mut hook, &old, 0..old.len(), &new, 0..new.len());
    let operations = hook.into_inner().into_inner().into_ops();
    let mut out = String::new();
    for hunk in group_diff_ops(operations, CONTEXT) {
        // What is equal throughout has no hunks, but may have a group.
        if hunk.iter().all(|operation| operation.tag() == DiffTag::Equal) {
            continue;
        }
        if out.is_empty() {
            out = format!("--- {}\n+++ {}\n", names[0], names[1]);
        }
        out += &format!("{}\n", UnifiedHunkHeader::new(&hunk));
        let mut line = |sign: char, line: &str| {
            out.push(sign);
            out.push_str(line);
            if !line.ends_with('\n') {
                out.push_str("\n\\ No newline at end of file\n");
            }
        };
        for operation in &hunk {
            let (olds, news) = (&old[operation.old_range()], &new[operation.new_range()]);
            if operation.tag() == DiffTag::Equal {
                olds.iter().for_each(|text| line(' ', text));
            } else {
                olds.iter().for_each(|text| line('-', text));
                news.iter().for_each(|text| line('+', text));
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::unified;

    /// What diff(1) prints, but for the times in the names.
    #[test]
    fn texts_are_compared_as_diff_compares_them() {
        assert_eq!(unified("a\n", "a\n", ["x", "y"]), "");
        assert_eq!(unified("", "a\n", ["x", "y"]), "--- x\n+++ y\n@@ -0,0 +1 @@\n+a\n");
        let (before, after) = ("1\n2\n3\n4\n5\n6\n7\n8\n9", "1\n2\n3\n4\nfive\n6\n7\n8\n9\n");
        let expected = "--- x\n+++ y\n@@ -2,8 +2,8 @@\n 2\n 3\n 4\n-5\n+five\n 6\n 7\n 8\n-9\n\\ No newline at end of file\n+9\n";
        assert_eq!(unified(before, after, ["x", "y"]), expected);
    }
}
