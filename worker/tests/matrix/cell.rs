//! A cell of the matrix: what goes wrong where, when it is called off, and how it has to end.

use std::fmt;

use domain::{OrderId, OrderStatus, Rejection, StepName};
use saga::{Contract, Role};
use serde::{Deserialize, Serialize};
use workflows::{PROCESSES, ProcessEntry, Queue, contract_of};

use crate::support::{Call, FOR_EVER, Fault, Gate};

/// One order's fate.
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
    /// Which of the activity's calls, counted from 0.
    pub site: usize,
    /// How that call is known to Temporal.
    pub call: Call,
}

/// Where the order would go if nothing but this happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize, Serialize)]
pub enum Course {
    /// It ships.
    Ships,
    /// Its last step that can be undone takes effect, but never answers, so that everything is
    /// taken back.
    Unwinds,
    /// The same, but that step cannot be undone any more, and a person decides that it counts as
    /// done.
    IsAccepted,
    /// It has shipped, and a part of its money is given back: a refund is under way.
    IsRefunded,
    /// The same, but the provider does not give the money back, and a person gives the refund up.
    IsGivenUp,
}

impl Course {
    /// Whether what is done for the order is taken back, or is to be.
    pub const fn unwinds(self) -> bool {
        matches!(self, Self::Unwinds | Self::IsAccepted)
    }

    /// Whether it is a refund's.
    pub const fn is_of_a_refund(self) -> bool {
        matches!(self, Self::IsRefunded | Self::IsGivenUp)
    }
}

/// What goes wrong at the point.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Trouble {
    Nothing,
    /// Fails before the effect, once.
    Fails,
    /// Fails before the effect, until it is tried patiently.
    FailsLong,
    /// Never answers, and nothing takes effect.
    NeverAnswers,
    /// Hangs until it is given up, however often it is tried; the attempts run when the order has
    /// long ended.
    Hangs,
    /// Takes effect, and the answer is lost.
    LosesAnswer,
    LosesAnswerLong,
    LosesAnswerForEver,
    /// Times out, and a zombie of it runs beside the second attempt.
    Overlaps,
    /// Times out, and a zombie of it runs when the order has ended.
    ComesLate,
    /// Takes effect, and a proxy answers in its party's place for a while.
    MakesNoSense,
    /// Fails for good, as a bug does.
    Breaks,
    /// Is refused for good by the business.
    IsRefused,
    /// Takes effect, and answers something that cannot be read.
    Garbles,
    /// Takes effect, and answers more than Temporal takes.
    AnswersTooMuch,
    /// Is ten times slower.
    IsSlow,
    /// Its party's first answer is a proxy's page, and makes no sense; nothing is done there.
    AnswersHtml,
    /// Its party does as asked, and the first answer ends before its end.
    AnswersHalf,
    /// Its party does as asked, and the first answer is longer than any that is read.
    AnswersWithoutEnd,
    /// Its party cannot answer once, and asks to be asked again at once.
    AsksForNoPause,
    /// Its party cannot answer once, and asks to be asked again after a while.
    AsksForAPause,
    /// Its party does as asked once, and the connection dies before it answers.
    LosesItsConnection,
    /// Its party does as asked once, and answers so late that the attempt is given up before.
    AnswersLate,
    /// Its party's connection dies once, and the request arrives when all orders have ended.
    LandsLate,
    /// Its party's index lags: what was made is not found once.
    Lags,
    /// Its party's connection dies once, and by the next attempt the party has forgotten the key.
    ForgetsKeys,
    /// Its party has news five times while the call is under way, in the wrong order.
    HintsComeOften,
    /// The refund is pending at first, and then it fails.
    RefundFails,
    /// What the bank sets aside expires before the money can be taken in peace.
    ExpiresEarly,
    /// Another thing goes wrong at every attempt: it fails, loses its answer, answers too much;
    /// then, tried patiently, loses its answer once more, and is slow at last.
    FailsByTurns,
    /// Takes effect, and its worker's process dies before it answers.
    Dies,
    /// The same, once it is tried patiently.
    DiesLong,
    /// The bank asks the customer first, who approves the payment.
    NeedsCustomer,
    /// The bank asks the customer first, who does nothing.
    CustomerIsGone,
}

/// What a party does with one call, as its sandbox has it.
#[derive(Clone, Copy, Debug)]
pub struct Misbehaviour {
    /// Which call; `*` for the next one, whichever it is.
    pub call: &'static str,
    pub behaviour: &'static str,
    pub retry_after: Option<&'static str>,
    pub seconds: Option<i32>,
}

impl Misbehaviour {
    /// Of the next call.
    const fn once(behaviour: &'static str) -> Self {
        Self { call: "*", behaviour, retry_after: None, seconds: None }
    }
}

/// When, and how, the order is called off.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cancel {
    pub moment: Moment,
    pub way: Way,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Moment {
    /// When the history has this event.
    Event(usize),
    /// While the call is under way, before it takes effect.
    BeforeEffect,
    /// While the call is under way, after it took effect.
    AfterEffect,
    /// While its worker is dead, and before there is another.
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

    /// Whether the step can be refused: it can be undone, so the order can do without.
    fn can_be_refused(&self) -> bool {
        let contract = self.contract();
        contract.role == Role::Does && contract.patience.is_some()
    }

    /// Whether it is a call to the payment provider.
    pub fn is_of_payments(&self) -> bool {
        self.party() == Some(PROVIDER)
    }

    /// Whose sandbox it calls, if it calls one: the schema that its behaviours are ordered in.
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

/// The payment provider, as the database calls its sandbox.
const PROVIDER: &str = "sandbox_provider";

/// Every activity of the process whose workflows' ids begin so.
pub fn contracts_of(id_prefix: &'static str) -> impl DoubleEndedIterator<Item = &'static Contract> {
    let is_it = move |process: &&ProcessEntry| process.id_prefix == id_prefix;
    PROCESSES.iter().filter(is_it).flat_map(|process| process.contracts)
}

/// Every activity of the order's process.
pub fn contracts() -> impl DoubleEndedIterator<Item = &'static Contract> {
    contracts_of(OrderId::WORKFLOW_ID_PREFIX)
}

/// The last step that can be undone: where it fails, everything has to be taken back.
pub fn last_step() -> &'static Contract {
    contracts().rev().find(|one| one.role == Role::Does && one.patience.is_some()).unwrap()
}

/// A refusal that no step gives by itself, so that it is known for the matrix' own.
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

    /// What the table calls it.
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

    /// Whether it can happen to this call: only a step with a limit to its patience is given up,
    /// only one that can be undone is refused.
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
            // What is patient from the beginning has no quick way that could fail first.
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

    /// Whether the order's patience ends it.
    pub const fn uses_up_patience(self) -> bool {
        matches!(self, Self::NeverAnswers | Self::Hangs | Self::LosesAnswerForEver)
    }

    /// What the point's party does, one call after the other, if it is the party's doing.
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
            // The quick way's attempts have five seconds.
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

    /// What the order is paid with, where that decides what goes wrong.
    pub const fn token(self) -> Option<&'static str> {
        if matches!(self, Self::NeedsCustomer | Self::CustomerIsGone) {
            Some("tok_needs_customer")
        } else if matches!(self, Self::ExpiresEarly) {
            Some("tok_expires_60")
        } else {
            None
        }
    }

    /// How long the customer has to approve the payment, where their bank asks them.
    pub const fn approval_seconds(self) -> Option<u32> {
        if matches!(self, Self::NeedsCustomer) {
            Some(3_600)
        } else if matches!(self, Self::CustomerIsGone) {
            Some(1)
        } else {
            None
        }
    }

    /// Whether it takes a process that can die.
    pub const fn is_a_death(self) -> bool {
        matches!(self, Self::Dies | Self::DiesLong)
    }

    /// What the activity does, attempt by attempt. Four times is more often than the quick way
    /// tries.
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
            // Once the quick way, or to begin with, and once where the saga knows of it.
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
    /// How the order has to end if nobody calls it off.
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

    /// Whether the point's party makes the trouble, once the point is reached.
    pub fn is_its_partys_doing(&self) -> bool {
        self.trouble == Trouble::HintsComeOften || !self.trouble.at_the_party().is_empty()
    }

    /// Whether only the sandbox provider can make this trouble.
    pub fn is_of_the_sandbox_provider(&self) -> bool {
        self.trouble.token().is_some()
            || self.point.party() == Some("sandbox_provider")
                && !self.trouble.at_the_party().is_empty()
    }

    /// Whether an operator has to decide before the order can end.
    pub fn needs_operator(&self) -> bool {
        matches!(self.trouble, Trouble::Breaks | Trouble::Garbles) && !self.point.can_be_refused()
    }

    /// Whether a cancel has to be kept: one that the shop answered, and one that Temporal took in
    /// while the order still had a step before it that can be taken back.
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

    /// Why the order did not end as it has to, if it did not. A cancel may come too late, but one
    /// that was taken in, in time, is kept.
    pub fn complaint(&self, ended: &OrderStatus, taken_in: bool) -> Option<String> {
        let as_planned = match (self.end(), ended) {
            (End::Completed, OrderStatus::Completed) => {
                // What has left stays sold, whoever has called the order off meanwhile.
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

/// How an order ends that nobody calls off.
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
