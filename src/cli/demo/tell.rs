//! How the demo is told: a line for each thing that happens, then a table of what became of it.

use std::fmt::Display;
use std::io::{self, Write};
use std::net::SocketAddr;
use std::path::Path;
use std::time::Instant;

use jiff::SignedDuration;

use crate::app::demo::{CONFIG_FILE, EVENTS_FILE, MAIL_FOLDER, News, Outcome, Theft};
use crate::model::{ActionKind, ActionRecord, ActionState, Detection, Severity};
use crate::simulate::{Attack, Habit, Scenario, Story};

/// Narrow enough for every terminal; names of files alone may be longer.
const COLUMNS: usize = 80;
/// Before what is told: when, and who.
const MARGIN: usize = 23;

/// Says everything on one stream.
pub(super) struct Teller<'a> {
    out: &'a mut dyn Write,
    color: bool,
    start: Instant,
}

/// Who a line is about, with the colour in which it is said (ECMA-48 numbers).
#[derive(Clone, Copy)]
enum Who {
    Person,
    Thief,
    Owner,
    Server,
    Warden,
}

const FAINT: &str = "2";
const BOLD: &str = "1";
const RED: &str = "31";
const GREEN: &str = "32";

impl Who {
    const fn name(self) -> &'static str {
        match self {
            Self::Person => "person",
            Self::Thief => "thief",
            Self::Owner => "owner",
            Self::Server => "server",
            Self::Warden => "tokenwarden",
        }
    }

    const fn color(self) -> &'static str {
        match self {
            Self::Person => FAINT,
            Self::Thief => RED,
            Self::Owner => "33",
            Self::Server => "36",
            Self::Warden => GREEN,
        }
    }
}

impl<'a> Teller<'a> {
    pub(super) fn new(out: &'a mut dyn Write, color: bool) -> Self {
        Self {
            out,
            color,
            start: Instant::now(),
        }
    }

    pub(super) fn opens(
        &mut self,
        scenario: &Scenario,
        folder: &Path,
        addresses: &[(&'static str, SocketAddr)],
    ) -> io::Result<()> {
        let odd = scenario.of_each_habit as usize * Habit::ODD.len();
        let people = scenario.ordinary_people as usize + odd;
        writeln!(self.out, "tokenwarden demo, seed {}\n", scenario.seed)?;
        self.paragraph(&format!(
            "An authorization server, {people} honest people of whom {odd} do odd things, and {} thieves, for {} seconds. \
             Beside it runs the same daemon as in `tokenwarden run`. It sees the server's audit table, and nothing else.",
            Attack::ALL.len(),
            (scenario.beat * scenario.beats).as_secs()
        ))?;
        writeln!(self.out)?;
        self.place("configuration", folder.join(CONFIG_FILE).display())?;
        for (name, address) in addresses {
            self.listener(name, *address)?;
        }
        writeln!(self.out)?;
        self.start = Instant::now();
        self.line(
            Who::Person,
            "everybody logs in; for a few seconds nothing odd happens, since habits must be known before somebody \
             else's can be strange",
        )
    }

    pub(super) fn tells(&mut self, news: &News) -> io::Result<()> {
        match news {
            News::Story(story) => self.story(story),
            News::Found(detection) => self.found(detection),
            News::Done(record) => self.done(record),
        }
    }

    pub(super) fn broken_off(&mut self) -> io::Result<()> {
        writeln!(self.out, "\nStopped before the end of the day.")
    }

    fn story(&mut self, story: &Story) -> io::Result<()> {
        match story {
            Story::Oddity { user_id, habit } => {
                self.line(Who::Person, format_args!("{user_id}: {}", habit.as_str()))
            }
            Story::Stolen { attack, user_id } => self.line(
                Who::Thief,
                format_args!("{user_id}'s refresh token is copied: {}", attack.as_str()),
            ),
            Story::ThiefPresented {
                user_id, accepted, ..
            } => {
                let answer = if *accepted {
                    "gets a new one"
                } else {
                    "is refused"
                };
                self.line(
                    Who::Thief,
                    format_args!("presents the token of {user_id} and {answer}"),
                )
            }
            Story::OwnerRefused { user_id, .. } => self.line(
                Who::Owner,
                format_args!("{user_id}'s own app presents the token and is refused"),
            ),
            Story::ThiefCutOff { user_id, .. } => self.line(
                Who::Server,
                format_args!("refuses the thief's next refresh for {user_id}"),
            ),
        }
    }

    /// What is grave in full; what is only recorded shows that it was seen and left alone.
    fn found(&mut self, detection: &Detection) -> io::Result<()> {
        let whom = detection
            .user_id
            .as_ref()
            .map_or("somebody", |user| user.as_ref());
        let (severity, rule, summary) = (detection.severity, &detection.rule, &detection.summary);
        if severity >= Severity::Medium {
            self.line(
                Who::Warden,
                format_args!("{severity}: {rule}, {whom}: {summary}"),
            )
        } else {
            let text = format!("recorded ({severity}): {rule}, {whom}: {summary}");
            self.say(Who::Warden, Some(FAINT), &text)
        }
    }

    fn done(&mut self, record: &ActionRecord) -> io::Result<()> {
        let action = &record.action;
        let whom = action
            .target
            .user_id
            .as_ref()
            .map_or("somebody", |user| user.as_ref());
        let outcome = record.outcome.as_ref().map_or("", |outcome| outcome);
        match (action.kind, record.state) {
            (ActionKind::RevokeFamily, ActionState::Done | ActionState::Answered) => {
                let family = action.target.family_id.as_ref().map_or("", |id| id);
                self.line(
                    Who::Warden,
                    format_args!("revokes {whom}'s family {family}: {outcome}"),
                )
            }
            (ActionKind::Notify, ActionState::Done) => {
                self.line(Who::Warden, format_args!("mails on-call about {whom}"))
            }
            // Nobody is set up here to challenge or to slow down.
            (ActionKind::Challenge | ActionKind::Throttle | ActionKind::BlockIp, _)
            | (_, ActionState::Done | ActionState::Answered) => Ok(()),
            (kind, state) => self.line(
                Who::Warden,
                format_args!("{kind} for {whom} is {state}: {outcome}"),
            ),
        }
    }

    fn line(&mut self, who: Who, what: impl Display) -> io::Result<()> {
        self.say(who, None, &what.to_string())
    }

    fn say(&mut self, who: Who, color: Option<&str>, what: &str) -> io::Result<()> {
        let elapsed = self.start.elapsed().as_secs_f64();
        let who = self.paint(who.color(), &format!("{:<11}", who.name()));
        let mut margin = format!("{elapsed:>6.1} s  {who}  ");
        for line in wrapped(what, COLUMNS - MARGIN) {
            let line = color.map_or_else(|| line.clone(), |color| self.paint(color, &line));
            writeln!(self.out, "{margin}{line}")?;
            margin = " ".repeat(MARGIN);
        }
        self.out.flush()
    }

    fn paragraph(&mut self, text: &str) -> io::Result<()> {
        wrapped(text, COLUMNS)
            .iter()
            .try_for_each(|line| writeln!(self.out, "{line}"))
    }

    /// The table, and what it comes to.
    pub(super) fn sums_up(&mut self, outcome: &Outcome) -> io::Result<()> {
        let head = format!(
            "{:<37}  {:<9}  {:<5}  {:>8}  {:>13}",
            "planted", "victim", "found", "revoked", "thief refused"
        );
        let head = self.paint(BOLD, &head);
        writeln!(self.out, "\n{head}")?;
        for theft in &outcome.thefts {
            let row = row(theft);
            let row = if theft.is_over() {
                row
            } else {
                self.paint(RED, &row)
            };
            writeln!(self.out, "{row}")?;
        }
        self.twins(outcome)?;
        writeln!(self.out)?;
        self.paragraph(
            "Times count from the answer that made thief and owner distinguishable; all of it is from the server's own log.",
        )?;
        for honest in &outcome.honest_revoked {
            let text = format!(
                "wrongly revoked: {} ({})",
                honest.user_id,
                honest.habit.as_str()
            );
            let text = self.paint(RED, &text);
            writeln!(self.out, "{text}")?;
        }
        let found = outcome.thefts.iter().filter(|theft| theft.is_found).count();
        let totals = format!(
            "planted {}, found {found}, missed {}; of {} honest families revoked {}; mails {}",
            outcome.thefts.len(),
            outcome.missed(),
            outcome.families,
            outcome.honest_revoked.len(),
            outcome.mails,
        );
        let color = if outcome.is_good() { GREEN } else { RED };
        let totals = self.paint(color, &totals);
        writeln!(self.out, "{totals}")
    }

    /// Who did something honest that looks like one of the attacks.
    fn twins(&mut self, outcome: &Outcome) -> io::Result<()> {
        let head = format!(
            "{:<37}  {:>6}  {:>7}",
            "honest, but much like one of these", "people", "revoked"
        );
        let head = self.paint(BOLD, &head);
        writeln!(self.out, "\n{head}")?;
        for theft in &outcome.thefts {
            let (twin, people, revoked) = (
                theft.attack.twin().as_str(),
                theft.twins,
                theft.twins_revoked,
            );
            writeln!(self.out, "{twin:<37}  {people:>6}  {revoked:>7}")?;
        }
        Ok(())
    }

    /// Where to look, and what to try next.
    pub(super) fn points_out(
        &mut self,
        folder: &Path,
        addresses: &[(&'static str, SocketAddr)],
        ends: bool,
    ) -> io::Result<()> {
        let (config, events) = (folder.join(CONFIG_FILE), folder.join(EVENTS_FILE));
        writeln!(self.out)?;
        self.place("mails", folder.join(MAIL_FOLDER).display())?;
        self.place("configuration", config.display())?;
        self.place("audit log", events.display())?;
        if !ends {
            for (name, address) in addresses {
                self.listener(name, *address)?;
            }
        }
        let program = std::env::args_os().next().unwrap_or_default();
        let replay = format!(
            "{} replay -c {} {}",
            Path::new(&program).display(),
            config.display(),
            events.display()
        );
        writeln!(
            self.out,
            "\nNext: the same log through the same rules, from a file:\n  {replay}"
        )?;
        if !ends {
            writeln!(self.out, "\nThe daemon goes on; Ctrl-C stops it.")?;
        }
        self.out.flush()
    }

    fn listener(&mut self, name: &str, address: SocketAddr) -> io::Result<()> {
        match name {
            "ops" => self.place("metrics", format_args!("http://{address}/metrics")),
            "api" => self.place("API", format_args!("http://{address}/api/v1/incidents")),
            name => self.place(name, format_args!("http://{address}/")),
        }
    }

    fn place(&mut self, what: &str, place: impl Display) -> io::Result<()> {
        writeln!(self.out, "{what:<13}  {place}")
    }

    fn paint(&self, color: &str, text: &str) -> String {
        if self.color {
            format!("\u{1b}[{color}m{text}\u{1b}[0m")
        } else {
            text.to_owned()
        }
    }
}

fn row(theft: &Theft) -> String {
    let found = if theft.is_found { "yes" } else { "NO" };
    let refused = match theft.accepted_after {
        0 => seconds(theft.refused_after),
        more => format!("{more} MORE TOKENS"),
    };
    format!(
        "{:<37}  {:<9}  {found:<5}  {:>8}  {refused:>13}",
        theft.attack.as_str(),
        theft.user_id,
        seconds(theft.revoked_after),
    )
}

fn seconds(duration: Option<SignedDuration>) -> String {
    duration.map_or_else(
        || "NEVER".to_owned(),
        |duration| format!("{:.1} s", duration.as_secs_f64()),
    )
}

/// Lines of at most so many characters, broken between words; a longer word stands alone.
fn wrapped(text: &str, columns: usize) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for word in text.split_whitespace() {
        match lines.last_mut() {
            Some(line) if line.chars().count() + 1 + word.chars().count() <= columns => {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.push(word.to_owned()),
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_broken_between_words_and_lose_none() {
        let text = "São Paulo is farther than aeroplanes fly";
        let lines = wrapped(text, 11);
        assert!(lines.iter().all(|line| line.chars().count() <= 11));
        assert_eq!(lines.join(" "), text);
        assert_eq!(wrapped("a incomprehensible b", 4).len(), 3);
    }
}
