//! A cell of the matrix: which fault occurs where, when the order is cancelled, and how it has to
//! end.

use std::fmt;

use domain::{OrderId, OrderStatus, Rejection, StepName};
use saga::{Contract, Role};
use serde::{Deserialize, Serialize};
use workflows::{PROCESSES, ProcessEntry, Queue, contract_of};

use crate::support::{Call, FOR_EVER, Fault, Gate};

/// The plan for one order.
#[derive(Clone, Debug)]
pub struct Cell {
    pub point: Point,
    pub trouble: Trouble,
    pub cancel: Option<Cancel>,
}

/// A call that an order makes.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Point {
    pub course: Course,
    pub activity: String,
    /// Which of the activity's call sites, counted from 0.
    pub site: usize,
    /// How Temporal identifies that call.
    pub call: Call,
}

/// The order's course apart from the fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize, Serialize)]
pub enum Course {
    /// It ships.
    Ships,
    /// The last step that can be undone takes effect but never answers, so that everything is
    /// undone.
    Unwinds,
    /// The same, but that step can no longer be undone, and a person accepts it as done.
    IsAccepted,
    /// It has shipped, and is partly refunded: the point is in the refund.
    IsRefunded,
    /// The same, but the provider does not make the refund, and a person gives it up.
    IsGivenUp,
}

impl Course {
    /// Whether the order is unwound, or starts to be.
    pub const fn unwinds(self) -> bool {
        matches!(self, Self::Unwinds | Self::IsAccepted)
    }

    /// Whether the point is in a refund.
    pub const fn is_of_a_refund(self) -> bool {
        matches!(self, Self::IsRefunded | Self::IsGivenUp)
    }
}

/// The fault at the point.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Trouble {
    Nothing,
    /// Fails once before the effect.
    Fails,
    /// Fails before the effect, until the patient attempt.
    FailsLong,
    /// Never answers, without any effect.
    NeverAnswers,
    /// Every attempt hangs until it times out; the attempts run after the order has ended.
    Hangs,
    /// Takes effect, and the answer is lost.
    LosesAnswer,
    LosesAnswerLong,
    LosesAnswerForEver,
    /// Times out, and the timed-out attempt runs concurrently with the second one.
    Overlaps,
    /// Times out, and the timed-out attempt runs after the order has ended.
    ComesLate,
    /// Takes effect, and a proxy gives invalid answers for a while.
    MakesNoSense,
    /// Fails permanently, like a bug.
    Breaks,
    /// Is rejected by the business.
    IsRefused,
    /// Takes effect, and returns an undecodable answer.
    Garbles,
    /// Takes effect, and returns more than Temporal accepts.
    AnswersTooMuch,
    /// Is ten times slower.
    IsSlow,
    /// The party's first answer is a proxy's HTML page; the party did nothing.
    AnswersHtml,
    /// The party executes the call, and the first answer is truncated.
    AnswersHalf,
    /// The party executes the call, and the first answer exceeds the size limit.
    AnswersWithoutEnd,
    /// The party is unavailable once, and asks for an immediate retry.
    AsksForNoPause,
    /// The party is unavailable once, and asks for a later retry.
    AsksForAPause,
    /// The party executes the call once, and the connection breaks before the answer.
    LosesItsConnection,
    /// The party executes the call once, and answers after the attempt has timed out.
    AnswersLate,
    /// The connection breaks once, and the request arrives after all orders have ended.
    LandsLate,
    /// The party is eventually consistent: a new object is not found once.
    Lags,
    /// The connection breaks once, and the party has forgotten the idempotency key by the next
    /// attempt.
    ForgetsKeys,
    /// The party sends five notifications during the call, in the wrong order.
    HintsComeOften,
    /// The refund is pending at first, and then fails.
    RefundFails,
    /// The authorisation expires before the capture.
    ExpiresEarly,
    /// Each attempt fails differently: it fails, loses its answer, answers too much; then the
    /// patient attempts lose an answer once more, and the last one is slow.
    FailsByTurns,
    /// Takes effect, and the worker's process is killed before it answers.
    Dies,
    /// The same, during a patient attempt.
    DiesLong,
    /// The bank asks the customer for approval, who approves.
    NeedsCustomer,
    /// The bank asks the customer for approval, who does nothing.
    CustomerIsGone,
}

/// A party's behaviour for one call, as the sandbox defines it.
#[derive(Clone, Copy, Debug)]
pub struct Misbehaviour {
    /// The call; `*` for the next one of any kind.
    pub call: &'static str,
    pub behaviour: &'static str,
    pub retry_after: Option<&'static str>,
    pub seconds: Option<i32>,
}

impl Misbehaviour {
    /// For the next call.
    const fn once(behaviour: &'static str) -> Self {
        Self { call: "*", behaviour, retry_after: None, seconds: None }
    }
}

/// When and how the order is cancelled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cancel {
    pub moment: Moment,
    pub way: Way,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Moment {
    /// When the history has this event.
    Event(usize),
    /// During the call, before its effect.
    BeforeEffect,
    /// During the call, after its effect.
    AfterEffect,
    /// While its worker is dead and not replaced.
    WhileDead,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    Update,
    Signal,
    Temporal,
}

impl Point {
    pub fn contract(&self) -> &'static Contract {
        contract_of(&self.activity).unwrap()
    }

    /// Whether the step can be rejected: only one that can be undone.
    fn can_be_refused(&self) -> bool {
        let contract = self.contract();
        contract.role == Role::Does && contract.patience.is_some()
    }

    /// Whether it is a call to the payment provider.
    pub fn is_of_payments(&self) -> bool {
        self.party() == Some(PROVIDER)
    }

    /// The schema of the sandbox that it calls, if any, in which behaviours are requested.
    pub fn party(&self) -> Option<&'static str> {
        let contract = self.contract();
        match contract.role {
            Role::Does | Role::Undoes if contract.queue == Queue::Payments.name() => Some(PROVIDER),
            Role::Does | Role::Undoes if contract.queue == Queue::Fulfilment.name() => {
                Some("sandbox_carrier")
            }
            Role::Does | Role::Undoes | Role::Accepts | Role::Notes => None,
        }
    }

    fn step(&self) -> StepName {
        self.contract().step.parse().unwrap()
    }
}

/// The schema of the payment provider's sandbox.
const PROVIDER: &str = "sandbox_provider";

/// All activities of the process whose workflow ids have this prefix.
pub fn contracts_of(id_prefix: &'static str) -> impl DoubleEndedIterator<Item = &'static Contract> {
    let is_it = move |process: &&ProcessEntry| process.id_prefix == id_prefix;
    PROCESSES.iter().filter(is_it).flat_map(|process| process.contracts)
}

/// All activities of the order's process.
pub fn contracts() -> impl DoubleEndedIterator<Item = &'static Contract> {
    contracts_of(OrderId::WORKFLOW_ID_PREFIX)
}

/// The last step that can be undone: if it fails, everything has to be undone.
pub fn last_step() -> &'static Contract {
    contracts().rev().find(|one| one.role == Role::Does && one.patience.is_some()).unwrap()
}

/// A rejection that no step returns by itself, so that it identifies the matrix.
pub fn refusal() -> Rejection {
    Rejection::CardDeclined { decline_code: "as planned by the matrix".to_owned() }
}

impl Trouble {
    pub const ALL: [Self; 34] = [
        Self::Nothing,
        Self::Fails,
        Self::FailsLong,
        Self::NeverAnswers,
        Self::Hangs,
        Self::LosesAnswer,
        Self::LosesAnswerLong,
        Self::LosesAnswerForEver,
        Self::Overlaps,
        Self::ComesLate,
        Self::MakesNoSense,
        Self::Breaks,
        Self::IsRefused,
        Self::Garbles,
        Self::AnswersTooMuch,
        Self::IsSlow,
        Self::AnswersHtml,
        Self::AnswersHalf,
        Self::AnswersWithoutEnd,
        Self::AsksForNoPause,
        Self::AsksForAPause,
        Self::LosesItsConnection,
        Self::AnswersLate,
        Self::LandsLate,
        Self::Lags,
        Self::ForgetsKeys,
        Self::HintsComeOften,
        Self::RefundFails,
        Self::ExpiresEarly,
        Self::FailsByTurns,
        Self::Dies,
        Self::DiesLong,
        Self::NeedsCustomer,
        Self::CustomerIsGone,
    ];

    /// The name in the table.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Nothing => "nothing",
            Self::Fails => "fails",
            Self::FailsLong => "fails long",
            Self::NeverAnswers => "no answer ever",
            Self::Hangs => "hangs",
            Self::LosesAnswer => "answer lost",
            Self::LosesAnswerLong => "lost long",
            Self::LosesAnswerForEver => "lost for ever",
            Self::Overlaps => "zombie beside",
            Self::ComesLate => "zombie late",
            Self::MakesNoSense => "no sense",
            Self::Breaks => "broken",
            Self::IsRefused => "refused",
            Self::Garbles => "garbled",
            Self::AnswersTooMuch => "too large",
            Self::IsSlow => "slow",
            Self::AnswersHtml => "html",
            Self::AnswersHalf => "truncated",
            Self::AnswersWithoutEnd => "oversized",
            Self::AsksForNoPause => "retry at once",
            Self::AsksForAPause => "retry later",
            Self::LosesItsConnection => "lost there",
            Self::AnswersLate => "late answer",
            Self::LandsLate => "lands late",
            Self::Lags => "lags",
            Self::ForgetsKeys => "forgets",
            Self::HintsComeOften => "hints",
            Self::RefundFails => "refund fails",
            Self::ExpiresEarly => "expires early",
            Self::FailsByTurns => "by turns",
            Self::Dies => "dies",
            Self::DiesLong => "dies long",
            Self::NeedsCustomer => "needs the customer",
            Self::CustomerIsGone => "customer gone",
        }
    }

    /// Whether it can occur at this call: only a step with limited patience is given up, only one
    /// that can be undone is rejected.
    pub fn can_happen_to(self, point: &Point) -> bool {
        match self {
            Self::NeverAnswers | Self::Hangs | Self::LosesAnswerForEver => {
                point.contract().patience.is_some()
            }
            Self::IsRefused => point.can_be_refused(),
            Self::AnswersHtml
            | Self::AnswersHalf
            | Self::AnswersWithoutEnd
            | Self::AsksForNoPause
            | Self::AsksForAPause
            | Self::LosesItsConnection
            | Self::AnswersLate
            | Self::LandsLate
            | Self::Lags
            | Self::HintsComeOften => point.party().is_some(),
            Self::ForgetsKeys => {
                matches!(point.activity.as_str(), "AuthorisePayment" | "ShipOrder")
            }
            Self::RefundFails => {
                matches!(point.activity.as_str(), "RefundPayment" | "IssueRefund")
            }
            // A call that is patient from the beginning has no quick attempt that could fail first.
            Self::DiesLong => point.call.is_local(),
            Self::NeedsCustomer | Self::CustomerIsGone | Self::ExpiresEarly => {
                point.activity == "AuthorisePayment"
            }
            Self::Nothing
            | Self::Fails
            | Self::FailsLong
            | Self::LosesAnswer
            | Self::LosesAnswerLong
            | Self::Overlaps
            | Self::ComesLate
            | Self::MakesNoSense
            | Self::Breaks
            | Self::Garbles
            | Self::AnswersTooMuch
            | Self::IsSlow
            | Self::FailsByTurns
            | Self::Dies => true,
        }
    }

    /// Whether the order's patience runs out.
    pub const fn uses_up_patience(self) -> bool {
        matches!(self, Self::NeverAnswers | Self::Hangs | Self::LosesAnswerForEver)
    }

    /// The party's behaviour for consecutive calls, if the fault is the party's.
    pub fn at_the_party(self) -> Vec<Misbehaviour> {
        let once = Misbehaviour::once;
        let unavailable = |retry_after| Misbehaviour { retry_after, ..once("unavailable") };
        match self {
            Self::AnswersHtml => vec![once("html")],
            Self::AnswersHalf => vec![once("truncated")],
            Self::AnswersWithoutEnd => vec![once("too-large")],
            Self::AsksForNoPause => vec![unavailable(Some("0"))],
            Self::AsksForAPause => vec![unavailable(Some("2"))],
            Self::LosesItsConnection => vec![once("lost")],
            // A quick attempt has five seconds.
            Self::AnswersLate => vec![Misbehaviour { seconds: Some(6), ..once("hangs") }],
            Self::LandsLate => vec![once("late")],
            Self::Lags => vec![once("not-found")],
            Self::ForgetsKeys => vec![once("lost"), once("forgets")],
            Self::RefundFails => vec![Misbehaviour { call: "refund", ..once("pending") }],
            Self::HintsComeOften
            | Self::ExpiresEarly
            | Self::Nothing
            | Self::Fails
            | Self::FailsLong
            | Self::NeverAnswers
            | Self::Hangs
            | Self::LosesAnswer
            | Self::LosesAnswerLong
            | Self::LosesAnswerForEver
            | Self::Overlaps
            | Self::ComesLate
            | Self::MakesNoSense
            | Self::Breaks
            | Self::IsRefused
            | Self::Garbles
            | Self::AnswersTooMuch
            | Self::IsSlow
            | Self::FailsByTurns
            | Self::Dies
            | Self::DiesLong
            | Self::NeedsCustomer
            | Self::CustomerIsGone => vec![],
        }
    }

    /// The payment token that triggers the fault, if there is one.
    pub const fn token(self) -> Option<&'static str> {
        if matches!(self, Self::NeedsCustomer | Self::CustomerIsGone) {
            Some("tok_needs_customer")
        } else if matches!(self, Self::ExpiresEarly) {
            Some("tok_expires_60")
        } else {
            None
        }
    }

    /// The customer's time limit for approving the payment, if the bank asks for that.
    pub const fn approval_seconds(self) -> Option<u32> {
        if matches!(self, Self::NeedsCustomer) {
            Some(3_600)
        } else if matches!(self, Self::CustomerIsGone) {
            Some(1)
        } else {
            None
        }
    }

    /// Whether it needs a process that can be killed.
    pub const fn is_a_death(self) -> bool {
        matches!(self, Self::Dies | Self::DiesLong)
    }

    /// The activity's behaviour, attempt by attempt. Four failures exceed the quick attempts.
    pub fn faults(self, cancel: Option<Cancel>, gate: &Gate) -> Vec<Fault> {
        match cancel.map(|cancel| cancel.moment) {
            Some(Moment::BeforeEffect) => return vec![Fault::HeldBefore(gate.clone())],
            Some(Moment::AfterEffect) => return vec![Fault::HeldAfter(gate.clone())],
            Some(Moment::Event(_) | Moment::WhileDead) | None => {}
        }
        match self {
            Self::Nothing
            | Self::AnswersHtml
            | Self::AnswersHalf
            | Self::AnswersWithoutEnd
            | Self::AsksForNoPause
            | Self::AsksForAPause
            | Self::LosesItsConnection
            | Self::AnswersLate
            | Self::LandsLate
            | Self::Lags
            | Self::ForgetsKeys
            | Self::HintsComeOften
            | Self::RefundFails
            | Self::ExpiresEarly
            | Self::Dies
            | Self::DiesLong
            | Self::NeedsCustomer
            | Self::CustomerIsGone => vec![],
            Self::Fails => vec![Fault::Unavailable(1)],
            Self::FailsLong => vec![Fault::Unavailable(4)],
            Self::NeverAnswers => vec![Fault::Unavailable(FOR_EVER)],
            Self::Hangs => vec![Fault::Hangs(gate.clone())],
            Self::LosesAnswer => vec![Fault::AnswerLost(1)],
            Self::LosesAnswerLong => vec![Fault::AnswerLost(4)],
            Self::LosesAnswerForEver => vec![Fault::AnswerLost(FOR_EVER)],
            Self::Overlaps => vec![Fault::Overlap],
            Self::ComesLate => vec![Fault::Late(gate.clone())],
            // Once for the quick attempt, or at the beginning, and once where the saga notices.
            Self::MakesNoSense => vec![Fault::InvalidAnswer(2)],
            Self::Breaks => vec![Fault::Broken(1)],
            Self::IsRefused => vec![Fault::Refused(refusal())],
            Self::Garbles => vec![Fault::Garbled(1)],
            Self::AnswersTooMuch => vec![Fault::TooLarge(1)],
            Self::IsSlow => vec![Fault::Slow],
            Self::FailsByTurns => vec![
                Fault::Unavailable(1),
                Fault::AnswerLost(1),
                Fault::TooLarge(1),
                Fault::AnswerLost(1),
                Fault::Slow,
            ],
        }
    }
}

impl Cell {
    /// How the order has to end if it is not cancelled.
    fn end(&self) -> End {
        let role = self.point.contract().role;
        match (self.trouble, role) {
            (trouble, _) if trouble.uses_up_patience() => {
                End::Rejected(Rejection::FulfilmentUnavailable { step: self.point.step() })
            }
            (Trouble::IsRefused, _) => End::Rejected(refusal()),
            (Trouble::CustomerIsGone, _) => End::Rejected(Rejection::PaymentNotApproved),
            (Trouble::Breaks | Trouble::Garbles, _) if self.point.can_be_refused() => End::Failed,
            _ => match self.point.course {
                Course::Ships | Course::IsAccepted | Course::IsRefunded | Course::IsGivenUp => {
                    End::Completed
                }
                Course::Unwinds => End::Rejected(Rejection::FulfilmentUnavailable {
                    step: last_step().step.parse().unwrap(),
                }),
            },
        }
    }

    /// Whether the party causes the fault once the point is reached.
    pub fn is_its_partys_doing(&self) -> bool {
        self.trouble == Trouble::HintsComeOften || !self.trouble.at_the_party().is_empty()
    }

    /// Whether only the sandbox provider can cause this fault.
    pub fn is_of_the_sandbox_provider(&self) -> bool {
        self.trouble.token().is_some()
            || self.point.party() == Some("sandbox_provider")
                && !self.trouble.at_the_party().is_empty()
    }

    /// Whether an operator has to decide before the order can end.
    pub fn needs_operator(&self) -> bool {
        matches!(self.trouble, Trouble::Breaks | Trouble::Garbles) && !self.point.can_be_refused()
    }

    /// Whether a cancellation must succeed: one that the shop has answered, and one that Temporal
    /// accepted while an undoable step was still ahead.
    fn must_be_kept(&self, taken_in: bool) -> bool {
        let in_time = self.cancel.is_some_and(|Cancel { moment, way }| match (way, moment) {
            (Way::Update, _) => true,
            (Way::Signal | Way::Temporal, Moment::Event(_)) => false,
            (
                Way::Signal | Way::Temporal,
                Moment::BeforeEffect | Moment::AfterEffect | Moment::WhileDead,
            ) => self.point.can_be_refused(),
        });
        taken_in && in_time
    }

    /// Why the order's end is wrong, if it is. A cancellation may be too late, but one accepted in
    /// time must succeed.
    pub fn complaint(&self, ended: &OrderStatus, taken_in: bool) -> Option<String> {
        let as_planned = match (self.end(), ended) {
            (End::Completed, OrderStatus::Completed) => {
                // What has been shipped stays sold, even if the order was cancelled meanwhile.
                self.point.course == Course::IsAccepted || !self.must_be_kept(taken_in)
            }
            (End::Failed, OrderStatus::Failed { .. }) => true,
            (End::Rejected(why), OrderStatus::Rejected { rejection }) => why == *rejection,
            (_, OrderStatus::Cancelled { .. }) => self.cancel.is_some(),
            _ => false,
        };
        (!as_planned).then(|| format!("ended as {ended:?} (cancel taken in: {taken_in})"))
    }
}

/// The end of an order that is not cancelled.
enum End {
    Completed,
    Rejected(Rejection),
    Failed,
}

impl fmt::Display for Cell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { point: Point { course, activity, site, .. }, trouble, cancel } = self;
        let course = match course {
            Course::Ships => "an order that ships",
            Course::Unwinds => "an order that unwinds",
            Course::IsAccepted => "an order whose parcel has left",
            Course::IsRefunded => "a refund",
            Course::IsGivenUp => "a refund that is given up",
        };
        write!(f, "{course}: {activity}")?;
        if *site > 0 {
            write!(f, " (call {})", site + 1)?;
        }
        write!(f, ": {}", trouble.name())?;
        match cancel {
            None => Ok(()),
            Some(Cancel { moment, way }) => {
                let way = match way {
                    Way::Update => "update",
                    Way::Signal => "signal",
                    Way::Temporal => "Temporal",
                };
                match moment {
                    Moment::Event(event) => write!(f, "; cancelled by {way} at event {event}"),
                    Moment::BeforeEffect => write!(f, "; cancelled by {way} before its effect"),
                    Moment::AfterEffect => write!(f, "; cancelled by {way} after its effect"),
                    Moment::WhileDead => write!(f, "; cancelled by {way} while nobody serves"),
                }
            }
        }
    }
}
