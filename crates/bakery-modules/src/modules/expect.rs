//! `expect`: a program that asks, with the answers (`ansible/modules/expect.py`, and what it uses of pexpect's `run`).

use std::os::fd::OwnedFd;
use std::process::Child;
use std::time::{Duration, Instant};

use bakery_lang::regex::{Flags, compile};
use bakery_lang::{Map, Value};
use bakery_macros::ModuleArgs;
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::command;
use crate::registry::module;
use crate::{Failure, Host, Outcome, Run};

/// Runs a program on a terminal of its own and answers what it asks.
#[derive(ModuleArgs)]
struct Args {
    /// The program and its arguments; no shell reads them.
    #[arg(required)]
    command: String,
    /// Where it runs.
    chdir: Option<String>,
    /// It is not run if this path is there.
    creates: Option<String>,
    /// It is not run unless this path is there.
    removes: Option<String>,
    /// Questions, as regular expressions, and the answer to each; a list has one for each time.
    #[arg(required)]
    responses: Map,
    /// Seconds that a question may take; without end if it is null.
    timeout: Option<Value>,
    /// Whether what is answered is part of the output.
    echo: bool,
}

/// A question with what is left of its answers.
struct Event {
    text: String,
    regex: bakery_lang::regex::Regex,
    answers: Vec<String>,
    /// Whether the one answer is given every time.
    always: bool,
}

/// A program under way, and what it said so far.
struct Talk {
    child: Child,
    terminal: OwnedFd,
    all: String,
    /// How much of it was answered.
    seen: usize,
    /// Bytes of a letter that has not come whole.
    rest: Vec<u8>,
}

enum Heard {
    Something,
    End,
    Nothing,
}

impl Talk {
    /// Waits until there is more.
    fn listen(&mut self, left: Option<Duration>) -> Result<Heard, Failure> {
        let mut waits = [PollFd::new(&self.terminal, PollFlags::IN)];
        let left = left.and_then(|left| Timespec::try_from(left).ok());
        if poll(&mut waits, left.as_ref()).map_err(|e| Failure::new(e.to_string()))? == 0 {
            return Ok(Heard::Nothing);
        }
        let mut part = [0; 4096];
        // A terminal that nobody has open any more gives an error.
        match rustix::io::read(&self.terminal, &mut part) {
            Ok(0) | Err(rustix::io::Errno::IO) => return Ok(Heard::End),
            Ok(count) => self.rest.extend_from_slice(&part[..count]),
            Err(error) => return Err(Failure::new(error.to_string())),
        }
        let whole = match std::str::from_utf8(&self.rest) {
            Ok(_) => self.rest.len(),
            Err(error) if error.error_len().is_none() => error.valid_up_to(),
            Err(error) => {
                let at = self.all.chars().count() + error.valid_up_to();
                let byte = self.rest[error.valid_up_to()];
                return Err(Failure::new(format!(
                    "Refusing to deserialize an invalid UTF8 string value: 'utf-8' codec can't encode character '\\udc{byte:02x}' in position {at}: surrogates not allowed"
                )));
            }
        };
        let text: Vec<u8> = self.rest.drain(..whole).collect();
        self.all.push_str(&String::from_utf8_lossy(&text));
        Ok(Heard::Something)
    }

    /// Answers the first question in what was not answered; whether there was one.
    fn answer(&mut self, events: &mut [Event]) -> Result<bool, Failure> {
        let unseen = &self.all[self.seen..];
        let found = events.iter_mut().filter_map(|event| {
            let range = event.regex.find(unseen).ok().flatten().map(|m| (m.start(), m.end()))?;
            Some((range, event))
        });
        let Some(((_, end), event)) = found.min_by_key(|((start, _), _)| *start) else { return Ok(false) };
        let said = unseen[..end].to_owned();
        self.seen += end;
        let answer = if event.always { event.answers.first().cloned() } else { None };
        let answer = answer.or_else(|| (!event.answers.is_empty()).then(|| event.answers.remove(0)));
        let Some(answer) = answer else {
            let question = &event.text;
            return Err(Failure::new(format!(
                "No remaining responses for '{question}', output was '{said}'"
            )));
        };
        let line = format!("{}\n", answer.trim_end_matches('\n'));
        rustix::io::write(&self.terminal, line.as_bytes()).map_err(|e| Failure::new(e.to_string()))?;
        Ok(true)
    }
}

fn events(responses: &Map) -> Result<Vec<Event>, Failure> {
    let flags = Flags { dot_all: true, ..Flags::default() };
    let event = |(question, answer): (Value, Value)| {
        let text = question.to_string();
        let regex = compile(&text, flags).map_err(Failure::new)?;
        let (answers, always) = match &answer {
            Value::List(list) => (list.items().iter().map(ToString::to_string).collect(), false),
            one => (vec![one.to_string()], true),
        };
        Ok(Event { text, regex, answers, always })
    };
    responses.pairs().into_iter().map(event).collect()
}

/// Talks until the program has closed its terminal, or its time is over; whether it closed it.
fn converse(talk: &mut Talk, events: &mut [Event], timeout: Option<Duration>) -> Result<bool, Failure> {
    loop {
        let until = timeout.map(|timeout| Instant::now() + timeout);
        while !talk.answer(events)? {
            let left = until.map(|until| until.saturating_duration_since(Instant::now()));
            match talk.listen(left)? {
                Heard::Something => {}
                Heard::End => return Ok(true),
                Heard::Nothing => return Ok(false),
            }
        }
    }
}

fn run(args: Args, host: &mut Host) -> Run {
    if host.check {
        return Ok(Outcome::no_check_mode("ansible.builtin.expect"));
    }
    let timeout = match &args.timeout {
        None => Some(30),
        Some(Value::None) => None,
        Some(value) => Some(value.as_int().or_else(|| value.to_string().trim().parse().ok()).ok_or_else(|| {
            let kind = value.type_name();
            format!("argument 'timeout' is of type <class '{kind}'> and we were unable to convert to int: {value}")
        })?),
    };
    let timeout = timeout.map(|seconds| Duration::from_secs(seconds.max(0) as u64));
    let mut events = events(&args.responses)?;
    let words = command::split_line(&args.command)?;
    let Some((program, rest)) = words.split_first() else {
        return Err(Failure::new("no command given").with("rc", 256));
    };
    if let Some(folder) = &args.chdir {
        host.cwd = Some(host.path(folder));
    }
    for (path, there, word) in [(&args.creates, true, "exists"), (&args.removes, false, "does not exist")] {
        if let Some(path) = path.as_ref().filter(|path| host.path(path).exists() == there) {
            return Ok(Outcome::unchanged()
                .with("cmd", args.command.as_str())
                .with("stdout", format!("skipped, since {path} {word}"))
                .with("rc", 0));
        }
    }
    let (start, began) = (jiff::Zoned::now(), Instant::now());
    let (child, terminal) =
        host.cmd(program).args(rest).on_terminal(args.echo).map_err(|_| {
            Failure::new(format!("The command was not found or was not executable: {program}."))
        })?;
    let mut talk = Talk { child, terminal, all: String::new(), seen: 0, rest: vec![] };
    let ended = converse(&mut talk, &mut events, timeout);
    if !matches!(ended, Ok(true)) {
        // It may have ended meanwhile.
        let _ = talk.child.kill();
    }
    let status = talk.child.wait().map_err(|e| Failure::new(e.to_string()))?;
    let ended = ended?;
    let end = jiff::Zoned::now();
    let time = |moment: &jiff::Zoned| moment.strftime("%Y-%m-%d %H:%M:%S%.6f").to_string();
    let rc = if ended { Value::from(status.code().unwrap_or(-1)) } else { Value::None };
    let outcome = Outcome::changed(true)
        .with("cmd", args.command.as_str())
        .with("stdout", talk.all.trim_end_matches(['\r', '\n']))
        .with("rc", rc)
        .with("start", time(&start))
        .with("end", time(&end))
        .with("delta", command::shown_delta(began.elapsed()));
    let failed = if !ended {
        "command exceeded timeout"
    } else if status.success() {
        return Ok(outcome);
    } else {
        "non-zero return code"
    };
    Err(Failure { msg: failed.into(), fields: outcome.fields }.with("changed", true))
}

module!("expect", "ansible.builtin", Args, run);
