//! A process's progress: the state that its workflow keeps for the saga.

use std::collections::{BTreeMap, VecDeque};
use std::iter;
use std::time::SystemTime;

use chrono::{DateTime, SecondsFormat, Utc};
use serde::{Deserialize, Serialize};
use temporalio_workflow::WorkflowCancellationToken;

use crate::{Decision, Resolution};

/// The most lines that a timeline keeps. Beyond it the oldest except the first are dropped, so that
/// callers who send many signals cannot grow the workflow's state.
pub const TIMELINE_MAX: usize = 200;

/// The most characters that a line of the timeline keeps.
const LINE_MAX: usize = 500;

/// The most hints per queue that the saga acts on. Further hints are ignored.
const HINTS_MAX: u32 = 100;

/// The most messages of one kind that a run accepts. Temporal accepts 2,000 updates per run; most
/// of them are reserved for people's decisions.
pub const MESSAGES_MAX: u32 = 100;

/// The state of one step.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StepProgress {
    /// Which step.
    pub step: String,
    /// Its state.
    pub state: StepState,
}

/// The state of a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum StepState {
    /// Begun; its undo is registered.
    Running,
    /// Begun, and waiting for an outside person or event.
    Waiting,
    /// Done.
    Done,
    /// The business refused.
    Refused,
    /// Whether it took effect is unknown; its undo will find out.
    Unknown,
    /// A bug, or a party whose answers were invalid for too long.
    Broken,
    /// Undone.
    Undone,
    /// A person decided to continue without it.
    Skipped,
    /// It could not be undone, and a person decided that it counts as done.
    Accepted,
}

/// One line of the timeline.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TimelineEntry {
    /// When, by the workflow's clock.
    pub at: DateTime<Utc>,
    /// What happened, in plain text on one line.
    pub text: String,
}

impl TimelineEntry {
    /// The text may come from outside: control characters become spaces, and a text that is too
    /// long is cut.
    fn at(at: DateTime<Utc>, text: &str) -> Self {
        let plain = text.chars().map(|letter| if letter.is_control() { ' ' } else { letter });
        Self { at, text: plain.take(LINE_MAX).collect() }
    }
}

/// What waits for a person's decision.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct WaitingFor {
    /// The step that cannot go on.
    pub step: String,
    /// Counts how often this process has needed a person. A decision must name it.
    pub occurrence: u32,
    /// The decisions that a person can choose from.
    pub decisions: Vec<Decision>,
}

/// The direction in which the process goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Direction {
    Forward,
    /// It was stopped, and its steps are being undone.
    Unwinding,
    /// It was stopped, and there is nothing to undo.
    Stopped,
    /// Past the point of no return.
    Onward,
}

/// A wait for one decision of a person, and the decisions that it accepts.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Wait {
    about: WaitingFor,
    /// A decision that the saga has not yet acted on.
    resolution: Option<Resolution>,
}

impl Wait {
    /// Starts a wait.
    #[must_use]
    pub const fn about(about: WaitingFor) -> Self {
        Self { about, resolution: None }
    }

    /// The step that waits.
    #[must_use]
    pub const fn waiting_for(&self) -> &WaitingFor {
        &self.about
    }

    /// Checks whether a decision would be accepted.
    ///
    /// **Errors.** Why it would be ignored. A decision that is meant for another occurrence, or is
    /// sent twice, must not decide a later question.
    pub fn check(&self, resolution: &Resolution) -> Result<(), String> {
        let waiting = &self.about;
        let named = (resolution.step.as_str(), resolution.occurrence);
        if (waiting.step.as_str(), waiting.occurrence) != named {
            return Err(format!(
                "{} (occurrence {}) waits for a decision, not {} (occurrence {})",
                waiting.step, waiting.occurrence, resolution.step, resolution.occurrence,
            ));
        }
        if !waiting.decisions.contains(&resolution.decision) {
            return Err(format!("{} cannot be decided for {}", resolution.decision, waiting.step));
        }
        if self.resolution.is_some() {
            return Err("a decision was made a moment ago".to_owned());
        }
        Ok(())
    }

    /// Accepts a decision.
    ///
    /// **Errors.** As for [`Wait::check`].
    pub fn resolve(&mut self, resolution: Resolution) -> Result<(), String> {
        self.check(&resolution)?;
        self.resolution = Some(resolution);
        Ok(())
    }

    /// Returns the decision once, to be acted on.
    pub const fn take_resolution(&mut self) -> Option<Resolution> {
        self.resolution.take()
    }
}

/// The saga's part of a workflow's state.
#[derive(Debug)]
pub struct Progress {
    steps: Vec<StepProgress>,
    timeline: VecDeque<TimelineEntry>,
    /// Why the process is to be cancelled; the first reason counts.
    cancel_reason: Option<String>,
    /// Cancelled as soon as the process no longer goes forward. Undos do not depend on it.
    forward: WorkflowCancellationToken,
    direction: Direction,
    /// What the process waits for as planned, such as a customer.
    pause: Option<&'static str>,
    wait: Option<Wait>,
    /// Cancelled by the awaited decision: this ends the pause, and a running retry.
    decided: WorkflowCancellationToken,
    /// The number of notes that this run has written.
    notes: u32,
    /// How often this run has waited because the record could not be written.
    record_waits: u32,
    hints: BTreeMap<&'static str, u32>,
    messages: BTreeMap<&'static str, u32>,
}

impl Default for Progress {
    fn default() -> Self {
        Self {
            steps: Vec::new(),
            timeline: VecDeque::new(),
            cancel_reason: None,
            forward: WorkflowCancellationToken::new(),
            direction: Direction::Forward,
            pause: None,
            wait: None,
            decided: WorkflowCancellationToken::new(),
            notes: 0,
            record_waits: 0,
            hints: BTreeMap::new(),
            messages: BTreeMap::new(),
        }
    }
}

impl Progress {
    /// The steps begun so far, and their state.
    #[must_use]
    pub fn steps(&self) -> &[StepProgress] {
        &self.steps
    }

    /// What happened, in plain text.
    pub fn timeline(&self) -> impl Iterator<Item = &TimelineEntry> {
        self.timeline.iter()
    }

    /// Why the process is to be cancelled, if it is.
    #[must_use]
    pub fn cancel_reason(&self) -> Option<&str> {
        self.cancel_reason.as_deref()
    }

    /// Whether the process is being unwound, or has been.
    #[must_use]
    pub const fn is_unwinding(&self) -> bool {
        matches!(self.direction, Direction::Unwinding)
    }

    /// Whether the process is past the point of no return: from there it only goes forward.
    #[must_use]
    pub const fn is_past_return(&self) -> bool {
        matches!(self.direction, Direction::Onward)
    }

    /// What somebody outside has to do before the process continues, in one or two words. This is a
    /// planned wait; no decision is requested.
    #[must_use]
    pub const fn pausing_for(&self) -> Option<&'static str> {
        self.pause
    }

    pub(crate) const fn pause(&mut self, pause: Option<&'static str>) {
        self.pause = pause;
    }

    /// The step that waits for a person's decision, if any.
    #[must_use]
    pub fn waiting_for(&self) -> Option<&WaitingFor> {
        self.wait.as_ref().map(Wait::waiting_for)
    }

    /// Cancels the process if it still goes forward; returns whether it did.
    pub fn cancel(&mut self, reason: &str) -> bool {
        let in_time = self.direction == Direction::Forward;
        if in_time {
            self.forward.cancel_with_reason(reason.to_owned());
            self.cancel_reason.get_or_insert_with(|| reason.to_owned());
        }
        in_time
    }

    /// Accepts a person's decision, if it is about the waiting step.
    ///
    /// **Errors.** As for [`Progress::check`].
    pub fn resolve(&mut self, resolution: Resolution) -> Result<(), String> {
        let wait = self.wait.as_mut().ok_or_else(nothing_waits)?;
        wait.resolve(resolution)?;
        self.decided.cancel_with_reason("decided");
        Ok(())
    }

    /// Checks whether a decision would be accepted.
    ///
    /// Nothing waits; or as for [`Wait::check`].
    pub fn check(&self, resolution: &Resolution) -> Result<(), String> {
        self.wait.as_ref().ok_or_else(nothing_waits)?.check(resolution)
    }

    /// A party reports a change on its side: the steps that wait for it on this queue ask again at
    /// once. Returns whether the hint is acted on.
    pub fn hint(&mut self, queue: &'static str) -> bool {
        let hints = self.hints.entry(queue).or_default();
        let acted_on = *hints < HINTS_MAX;
        if acted_on {
            *hints = hints.saturating_add(1);
        }
        acted_on
    }

    pub(crate) fn hints(&self, queue: &'static str) -> u32 {
        self.hints.get(queue).copied().unwrap_or_default()
    }

    /// Whether one more message of this kind is accepted. An update checks this in its validator,
    /// because a refusal there adds nothing to the history.
    #[must_use]
    pub fn takes(&self, kind: &'static str) -> bool {
        self.messages.get(kind).is_none_or(|taken| *taken < MESSAGES_MAX)
    }

    /// Counts a message of this kind; returns whether it is accepted.
    pub fn take(&mut self, kind: &'static str) -> bool {
        let is_taken = self.takes(kind);
        if is_taken {
            let taken = self.messages.entry(kind).or_default();
            *taken = taken.saturating_add(1);
        }
        is_taken
    }

    /// Adds a line of plain text to the timeline, where it is shown verbatim.
    pub fn tell(&mut self, now: Option<SystemTime>, text: impl AsRef<str>) {
        let at = DateTime::<Utc>::from(now.unwrap_or(SystemTime::UNIX_EPOCH));
        self.timeline.push_back(TimelineEntry::at(at, text.as_ref()));
        if self.timeline.len() > TIMELINE_MAX {
            let first = self.timeline.pop_front();
            self.timeline.pop_front();
            if let Some(first) = first {
                self.timeline.push_front(first);
            }
        }
    }

    /// The timeline in Markdown, for the Web UI. All text is escaped: nothing in it becomes a link,
    /// an image or other markup.
    #[must_use]
    pub fn markdown(&self, heading: &str) -> String {
        let lines = self.timeline.iter().map(|TimelineEntry { at, text }| {
            let at = at.to_rfc3339_opts(SecondsFormat::Millis, true);
            format!("- `{at}` {}", as_written(text))
        });
        let heading = format!("### {}\n", as_written(heading));
        iter::once(heading).chain(lines).collect::<Vec<_>>().join("\n")
    }

    pub(crate) fn mark(&mut self, step: &str, state: StepState) {
        match self.steps.iter_mut().find(|progress| progress.step == step) {
            Some(progress) => progress.state = state,
            None => self.steps.push(StepProgress { step: step.to_owned(), state }),
        }
    }

    /// The state of a step; `None` if this run has not begun it.
    pub(crate) fn state_of(&self, step: &str) -> Option<StepState> {
        self.steps.iter().find(|begun| begun.step == step).map(|begun| begun.state)
    }

    /// Ties the way forward to the workflow's own cancellation, too.
    pub(crate) fn go_forward_until(&mut self, forward: WorkflowCancellationToken) {
        // A cancel may have arrived together with the start, before this token existed.
        if let Some(reason) = &self.cancel_reason {
            forward.cancel_with_reason(reason.clone());
        }
        self.forward = forward;
    }

    pub(crate) fn forward(&self) -> WorkflowCancellationToken {
        self.forward.clone()
    }

    /// Passes the point of no return: from here no cancellation reaches the process.
    pub(crate) fn pass_return(&mut self) {
        self.direction = Direction::Onward;
        self.forward = WorkflowCancellationToken::new();
    }

    pub(crate) const fn unwind(&mut self) {
        self.direction = Direction::Unwinding;
    }

    pub(crate) const fn stop(&mut self) {
        self.direction = Direction::Stopped;
    }

    /// Starts to wait for a person; the decision cancels the returned token.
    pub(crate) fn wait_for(&mut self, about: WaitingFor) -> WorkflowCancellationToken {
        self.wait = Some(Wait::about(about));
        self.decided = WorkflowCancellationToken::new();
        self.decided.clone()
    }

    pub(crate) fn take_resolution(&mut self) -> Option<Resolution> {
        self.wait.as_mut().and_then(Wait::take_resolution)
    }

    pub(crate) fn end_wait(&mut self) {
        self.wait = None;
    }

    /// The token for an attempt at something that must be completed. Only a person's decision, made
    /// while the saga retries, cancels it; without a wait for a decision, nothing does.
    pub(crate) fn until_decided(&self) -> WorkflowCancellationToken {
        self.wait.as_ref().map(|_wait| self.decided.clone()).unwrap_or_default()
    }

    /// Numbers the waits for the record over the whole run: a decision about an earlier wait must
    /// not apply to a later one.
    pub(crate) const fn next_record_wait(&mut self) -> u32 {
        self.record_waits = self.record_waits.saturating_add(1);
        self.record_waits
    }

    pub(crate) const fn next_note(&mut self) -> u32 {
        self.notes = self.notes.saturating_add(1);
        self.notes
    }
}

/// Escapes text so that Markdown shows it verbatim. Markup that is only recognised at the start of
/// a line needs no escape, because the text never starts one. Braces are no Markdown, but the Web
/// UI expands `{namespace}`.
fn as_written(text: &str) -> String {
    const MARKUP: &str = r"\`*_{}[]<>#|~&!";
    let mut written = String::with_capacity(text.len());
    for letter in text.chars() {
        if MARKUP.contains(letter) {
            written.push('\\');
        }
        written.push(letter);
    }
    written
}

fn nothing_waits() -> String {
    "nothing waits for a decision".to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn waiting(step: &str, occurrence: u32) -> Progress {
        let decisions = vec![Decision::Retry, Decision::Skip];
        let mut progress = Progress::default();
        let _decided =
            progress.wait_for(WaitingFor { step: step.to_owned(), occurrence, decisions });
        progress
    }

    fn resolution(step: &str, occurrence: u32, decision: Decision) -> Resolution {
        let (by, why) = ("eve".to_owned(), "settled by hand".to_owned());
        Resolution { step: step.to_owned(), occurrence, decision, by, why }
    }

    #[test]
    fn a_decision_decides_what_it_names_and_nothing_else() {
        for (step, occurrence, decision, taken) in [
            ("refund", 2, Decision::Skip, true),
            ("refund", 1, Decision::Skip, false),
            ("recall", 2, Decision::Skip, false),
            ("refund", 2, Decision::AcceptAsDone, false),
        ] {
            let mut progress = waiting("refund", 2);
            let resolution = resolution(step, occurrence, decision);
            assert_eq!(progress.check(&resolution).is_ok(), taken, "{resolution:?}");
            assert_eq!(progress.resolve(resolution.clone()).is_ok(), taken, "{resolution:?}");
        }
        let nothing = Progress::default().resolve(resolution("refund", 1, Decision::Retry));
        assert_eq!(nothing, Err("nothing waits for a decision".to_owned()));
    }

    #[test]
    fn a_decision_sent_twice_is_taken_once() {
        let mut progress = waiting("refund", 1);
        let decided = progress.until_decided();
        assert!(progress.resolve(resolution("refund", 1, Decision::Skip)).is_ok());
        assert!(decided.is_cancelled());
        assert!(progress.resolve(resolution("refund", 1, Decision::Retry)).is_err());
    }

    #[test]
    fn the_timeline_keeps_its_first_line_and_its_last_ones() {
        let mut progress = Progress::default();
        for number in 0..TIMELINE_MAX * 3 {
            progress.tell(None, format!("line {number}"));
        }
        let texts: Vec<_> = progress.timeline().map(|line| line.text.as_str()).collect();
        assert_eq!(texts.len(), TIMELINE_MAX);
        assert_eq!(texts.first(), Some(&"line 0"));
        assert_eq!(texts.last(), Some(&"line 599"));
    }

    #[test]
    fn what_is_told_is_plain_text_on_one_line_and_no_longer_than_that() {
        let mut progress = Progress::default();
        progress.tell(None, "a\u{0}b\n### c\u{1b}[31m");
        progress.tell(None, "x".repeat(10_000));
        let texts: Vec<_> = progress.timeline().map(|line| line.text.clone()).collect();
        assert_eq!(texts, ["a b ### c [31m".to_owned(), "x".repeat(LINE_MAX)]);
    }

    #[test]
    fn nothing_that_is_told_is_markup_in_the_web_ui() {
        for (text, shown) in [
            ("![x](https://example.org/x.png)", r"\!\[x\](https://example.org/x.png)"),
            ("[pay here](https://example.org)", r"\[pay here\](https://example.org)"),
            ("<https://example.org>", r"\<https://example.org\>"),
            ("<img src=x onerror=y>", r"\<img src=x onerror=y\>"),
            ("**insufficient_funds** `x` ~~y~~", r"\*\*insufficient\_funds\*\* \`x\` \~\~y\~\~"),
            (r"\[x] &lt; a|b {namespace}", r"\\\[x\] \&lt; a\|b \{namespace\}"),
            ("a\n# b\n- c\n| d | e |", r"a \# b - c \| d \| e \|"),
            ("refund-payment: 2.50 (EUR), 1. try", "refund-payment: 2.50 (EUR), 1. try"),
        ] {
            let mut progress = Progress::default();
            progress.tell(None, text);
            let expected = format!("### waiting \\#\n\n- `1970-01-01T00:00:00.000Z` {shown}");
            assert_eq!(progress.markdown("waiting #"), expected, "{text}");
        }
    }

    #[test]
    fn hints_beyond_the_limit_are_ignored() {
        let mut progress = Progress::default();
        let acted_on = (0..HINTS_MAX * 2).filter(|_| progress.hint("payments")).count();
        assert_eq!(acted_on, 100);
        assert_eq!(progress.hints("payments"), HINTS_MAX);
    }

    #[test]
    fn messages_of_one_kind_leave_those_of_another_to_be_taken() {
        let mut progress = Progress::default();
        let taken = (0..MESSAGES_MAX * 2).filter(|_| progress.take("cancel")).count();
        assert_eq!(taken, usize::try_from(MESSAGES_MAX).unwrap());
        assert!(!progress.takes("cancel") && progress.takes("pay"));
    }

    #[test]
    fn a_cancel_in_time_stops_the_way_forward_and_a_late_one_does_not() {
        let mut progress = Progress::default();
        assert!(progress.cancel("ordered twice") && progress.forward().is_cancelled());
        let mut late = Progress::default();
        late.pass_return();
        assert!(!late.cancel("too late") && !late.forward().is_cancelled());
        assert_eq!(late.cancel_reason(), None);
        for stop in [Progress::unwind, Progress::stop] {
            let mut stopped = Progress::default();
            stop(&mut stopped);
            assert!(!stopped.cancel("too late") && stopped.cancel_reason().is_none());
        }
    }
}
