//! HCL files in their canonical form, as `packer fmt` writes them (`hclwrite/format.go`): two spaces a level, one space
//! between words, equals signs and comments of neighbouring lines under each other.

/// What a piece of a line is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Word,
    /// Text in quotes, a heredoc's head.
    Text,
    Open,
    Close,
    Comma,
    Equals,
    Operator,
    Dot,
    Comment,
}

#[derive(Debug, Clone)]
struct Token {
    kind: Kind,
    text: String,
    /// Whether there was space before it.
    spaced: bool,
}

/// A line: its pieces, or text that must stay as it is.
enum Line {
    Tokens(Vec<Token>),
    Raw(String),
}

/// The canonical form of a file's text.
pub fn format(text: &str) -> String {
    let lines = lex(text);
    // What each level was opened with: several brackets of one line are one level.
    let mut levels: Vec<isize> = Vec::new();
    let mut rendered: Vec<Rendered> = Vec::new();
    for line in &lines {
        match line {
            Line::Raw(text) => {
                rendered.push(Rendered { raw: true, start: text.clone(), ..Rendered::default() });
            }
            Line::Tokens(tokens) => {
                let net = net(tokens);
                let mut closed = -net;
                while closed > 0
                    && let Some(level) = levels.last_mut()
                {
                    let taken = closed.min(*level);
                    *level -= taken;
                    closed -= taken;
                    if *level == 0 {
                        levels.pop();
                    }
                }
                rendered.push(Rendered { indent: levels.len(), ..Rendered::of(tokens) });
                if net > 0 {
                    levels.push(net);
                }
            }
        }
    }
    align(&mut rendered);
    let mut out = String::new();
    for line in &rendered {
        if !line.raw && !line.is_blank() {
            out.push_str(&"  ".repeat(line.indent));
        }
        out.push_str(&line.start);
        if let Some(value) = &line.value {
            out.push_str(value);
        }
        if let Some(comment) = &line.comment {
            out.push_str(comment);
        }
        let trimmed = if line.raw { out.len() } else { out.trim_end_matches(' ').len() };
        out.truncate(trimmed);
        out.push('\n');
    }
    if !text.ends_with('\n') {
        out.pop();
    }
    out
}

/// How many brackets a line leaves open; negative if it closes those of lines before.
fn net(tokens: &[Token]) -> isize {
    tokens
        .iter()
        .map(|token| match token.kind {
            Kind::Open => 1,
            Kind::Close => -1,
            _ => 0,
        })
        .sum()
}

/// A line in three parts that can be moved against those of its neighbours.
#[derive(Default)]
struct Rendered {
    raw: bool,
    indent: usize,
    /// The name before `=`, or everything.
    start: String,
    /// `= value`.
    value: Option<String>,
    comment: Option<String>,
    /// Whether the value goes on in the next line.
    is_open: bool,
}

impl Rendered {
    fn of(tokens: &[Token]) -> Self {
        let mut tokens = tokens.to_vec();
        let mut line = Self::default();
        if let Some(last) = tokens.last().filter(|t| t.kind == Kind::Comment)
            && tokens.len() > 1
        {
            line.comment = Some(last.text.clone());
            tokens.pop();
        }
        let is_attribute = matches!(tokens.as_slice(), [name, equals, ..] if matches!(name.kind, Kind::Word | Kind::Text) && equals.kind == Kind::Equals);
        line.is_open = net(&tokens) > 0 || tokens.last().is_some_and(|t| t.text.starts_with("<<"));
        if is_attribute {
            line.start.clone_from(&tokens[0].text);
            line.value = Some(join(&tokens[1..]));
        } else {
            line.start = join(&tokens);
        }
        line
    }

    fn is_blank(&self) -> bool {
        self.start.is_empty() && self.value.is_none() && self.comment.is_none()
    }
}

/// Pieces with the space that belongs between them.
fn join(tokens: &[Token]) -> String {
    let mut out = String::new();
    for (at, token) in tokens.iter().enumerate() {
        if at > 0 && is_spaced(tokens, at) {
            out.push(' ');
        }
        out.push_str(&token.text);
    }
    out
}

fn is_spaced(tokens: &[Token], at: usize) -> bool {
    let (before, after) = (&tokens[at - 1], &tokens[at]);
    match (before.kind, after.kind) {
        (_, Kind::Comma | Kind::Dot) | (Kind::Dot, _) => false,
        (Kind::Comma, _) => true,
        // A call's arguments, an index.
        (Kind::Word | Kind::Close, Kind::Open) if after.text == "(" => false,
        (Kind::Word | Kind::Close, Kind::Open) if after.text == "[" => {
            matches!(before.text.as_str(), "in" | "?" | ":") || after.spaced && before.text == "for"
        }
        (Kind::Open, Kind::Close) => false,
        (Kind::Open, _) => before.text == "{",
        (_, Kind::Close) => after.text == "}",
        // A sign, a negation.
        (Kind::Operator, _) if matches!(before.text.as_str(), "!" | "-") => {
            let unary = at < 2
                || matches!(tokens[at - 2].kind, Kind::Operator | Kind::Equals | Kind::Open | Kind::Comma);
            !unary
        }
        (_, Kind::Operator) if after.text == "..." => false,
        _ => true,
    }
}

/// Puts equals signs and comments of neighbouring lines under each other.
fn align(lines: &mut [Rendered]) {
    let mut at = 0;
    while at < lines.len() {
        let run = lines[at..]
            .iter()
            .enumerate()
            .take_while(|(i, line)| {
                line.value.is_some() && !line.raw && (*i == 0 || line.indent == lines[at].indent)
            })
            .count();
        // A value of several lines ends its group, and is a part of it.
        let run = lines[at..at + run].iter().position(|l| l.is_open).map_or(run, |open| open + 1);
        if run == 0 {
            at += 1;
            continue;
        }
        let group_end = at + run;
        // An open one is aligned with those before it only as hclwrite does: not at all.
        let closed: Vec<usize> = (at..group_end).filter(|i| !lines[*i].is_open).collect();
        let width = closed.iter().map(|i| lines[*i].start.chars().count()).max().unwrap_or(0);
        for line in &mut lines[at..group_end] {
            let own = line.start.chars().count();
            let width = if line.is_open { own } else { width };
            line.start.push_str(&" ".repeat(width + 1 - own));
        }
        at = group_end;
    }
    let mut at = 0;
    while at < lines.len() {
        let run = lines[at..].iter().take_while(|line| line.comment.is_some() && !line.raw).count();
        if run == 0 {
            at += 1;
            continue;
        }
        let length = |line: &Rendered| {
            line.start
                .trim_end()
                .chars()
                .count()
                .max(line.start.chars().count() * usize::from(line.value.is_some()))
                + line.value.as_ref().map_or(0, |v| v.chars().count())
        };
        let width = lines[at..at + run].iter().map(length).max().unwrap_or(0);
        for line in &mut lines[at..at + run] {
            let pad = width + 1 - length(line);
            if let Some(comment) = &mut line.comment {
                comment.insert_str(0, &" ".repeat(pad));
            }
        }
        at += run;
    }
}

/// Cuts a file into lines of pieces.
fn lex(text: &str) -> Vec<Line> {
    let mut out = Vec::new();
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        let mut tokens = Vec::new();
        let mut rest = line.trim_start();
        let mut heredoc = None;
        let mut spaced = false;
        while let Some(c) = rest.chars().next() {
            if c.is_whitespace() {
                spaced = true;
                rest = rest.trim_start();
                continue;
            }
            let (kind, length) = piece(rest);
            let text = rest[..length].to_owned();
            if text.starts_with("<<") {
                heredoc = Some(text.trim_start_matches('<').trim_start_matches('-').to_owned());
            }
            let text = if kind == Kind::Comment { text.trim_end().to_owned() } else { text };
            tokens.push(Token { kind, text, spaced });
            spaced = false;
            rest = &rest[length..];
        }
        // A comment over several lines stays as it is.
        let opens = tokens.last().is_some_and(|t| t.text.starts_with("/*") && !t.text.ends_with("*/"));
        out.push(Line::Tokens(tokens));
        if opens {
            for line in lines.by_ref() {
                out.push(Line::Raw(line.to_owned()));
                if line.contains("*/") {
                    break;
                }
            }
        }
        if let Some(end) = heredoc {
            for line in lines.by_ref() {
                out.push(Line::Raw(line.to_owned()));
                if line.trim() == end {
                    break;
                }
            }
        }
    }
    out
}

/// The kind and the length, in bytes, of the first piece.
fn piece(text: &str) -> (Kind, usize) {
    let first = text.chars().next().unwrap_or(' ');
    if first == '#' || text.starts_with("//") {
        return (Kind::Comment, text.len());
    }
    if text.starts_with("/*") {
        return (Kind::Comment, text.find("*/").map_or(text.len(), |end| end + 2));
    }
    if text.starts_with("<<") {
        let end = text.find(|c: char| c.is_whitespace()).unwrap_or(text.len());
        return (Kind::Text, end);
    }
    if first == '"' {
        return (Kind::Text, quoted(text));
    }
    for operator in ["...", "==", "!=", "<=", ">=", "&&", "||", "=>"] {
        if text.starts_with(operator) {
            return (Kind::Operator, operator.len());
        }
    }
    match first {
        '(' | '[' | '{' => (Kind::Open, 1),
        ')' | ']' | '}' => (Kind::Close, 1),
        ',' => (Kind::Comma, 1),
        '=' => (Kind::Equals, 1),
        '.' => (Kind::Dot, 1),
        '+' | '-' | '*' | '/' | '%' | '<' | '>' | '!' | '?' | ':' | '&' | '|' => (Kind::Operator, 1),
        _ => {
            let number = first.is_ascii_digit();
            let end = text.find(|c: char| {
                !(c.is_alphanumeric() || c == '_' || c == '-' && !number || c == '.' && number)
            });
            (Kind::Word, end.unwrap_or(text.len()).max(first.len_utf8()))
        }
    }
}

/// The length of a text in quotes; interpolations may hold quotes of their own.
fn quoted(text: &str) -> usize {
    let mut depth = 0usize;
    let mut chars = text.char_indices().skip(1).peekable();
    while let Some((at, c)) = chars.next() {
        match c {
            '\\' => {
                chars.next();
            }
            '$' | '%' if chars.peek().is_some_and(|(_, n)| *n == '{') => {
                chars.next();
                depth += 1;
            }
            '"' if depth > 0 => {
                // Text inside an interpolation.
                let inner = quoted(&text[at..]);
                while chars.peek().is_some_and(|(next, _)| *next < at + inner) {
                    chars.next();
                }
            }
            '}' if depth > 0 => depth -= 1,
            '{' if depth > 0 => depth += 1,
            '"' => return at + 1,
            _ => {}
        }
    }
    text.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_indented_spaced_and_aligned() {
        let text = "variable \"x\" { \n  default = \"v\" # one\n  description   =\"an ${upper(\"x\")}\" # two\n}\n\nlocals {\ny = [ 1,2 ]\n  long_name={\n a = -1\n   }\n h = <<-EOT\n   as it is\n EOT\n}\n";
        let wanted = "variable \"x\" {\n  default     = \"v\"                # one\n  description = \"an ${upper(\"x\")}\" # two\n}\n\nlocals {\n  y = [1, 2]\n  long_name = {\n    a = -1\n  }\n  h = <<-EOT\n   as it is\n EOT\n}\n";
        assert_eq!(format(text), wanted);
        assert_eq!(format(wanted), wanted);
    }
}
