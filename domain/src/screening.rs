//! Fraud screening: the rules, and the decision that follows from them.
//!
//! A set of rules looks at facts twice: before the payment is asked for, and once it is authorised,
//! with what the provider says of it. Each rule whose condition holds leaves a [`Finding`], which has
//! a verdict or a weight of its own. A rule in the mode `shadow` is tried out: what it finds goes on
//! record and decides nothing. A whole set is tried out in the same way, beside the one that counts.
//!
//! **Shape.** A set of rules is JSON:
//!
//! ```json
//! {
//!   "review_at": 50, "decline_at": 100, "review_default": "decline",
//!   "rules": [
//!     {"name": "customer-hourly", "mode": "active",
//!      "when": {"velocity": {"of": "customer", "seconds": 3600, "more_than": 5}},
//!      "effect": {"verdict": "review"}},
//!     {"name": "first-order", "mode": "shadow", "when": "first-order", "effect": {"weight": 20}}
//!   ]
//! }
//! ```

use std::collections::BTreeSet;
use std::fmt;
use std::net::{IpAddr, Ipv6Addr};

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use strum::{EnumString, IntoStaticStr};

use crate::{CountryCode, Money, line_as_written};

/// The longest window that is counted over: thirty days. A rule with a longer one counts over this.
pub const WINDOW_SECONDS_MAX: u32 = 2_592_000;

/// How many rules a set has at most.
pub const RULES_MAX: usize = 100;

/// How many characters a rule's name has at most.
const NAME_MAX: usize = 64;

macro_rules! words {
    ($($(#[$doc:meta])* $name:ident { $($(#[$variant_doc:meta])* $variant:ident,)+ })+) => {
        $(
            $(#[$doc])*
            #[derive(
                Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
                EnumString, IntoStaticStr,
            )]
            #[serde(rename_all = "kebab-case")]
            #[strum(serialize_all = "kebab-case")]
            #[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
            pub enum $name {
                $($(#[$variant_doc])* $variant,)+
            }

            impl $name {
                /// The word that the database and JSON use.
                #[must_use]
                pub fn name(self) -> &'static str {
                    self.into()
                }
            }

            impl fmt::Display for $name {
                fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                    f.write_str(self.name())
                }
            }
        )+
    };
}

words! {
    /// What orders are counted by, and what a list has entries of.
    Subject {
        /// Who ordered.
        Customer,
        /// The provider's token for the card.
        PaymentMethod,
        /// The street and town that the parcel goes to, whoever lives there.
        Address,
        /// The network that the customer ordered from.
        Network,
    }

    /// Whether what a rule finds decides.
    Mode {
        /// It does.
        Active,
        /// It goes on record and decides nothing.
        Shadow,
    }

    /// What becomes of an order.
    Verdict {
        /// It goes on.
        Approve,
        /// A person looks at it first.
        Review,
        /// It is rejected.
        Decline,
    }

    /// What a person decides about an order, or the deadline in their place.
    ReviewDecision {
        /// The order goes on.
        Approve,
        /// The order is rejected.
        Decline,
    }

    /// A list of subjects.
    ListKind {
        /// Those who are not sold to.
        Block,
        /// Those who are known to be good.
        Allow,
    }

    /// How risky the payment provider takes a payment to be. What it takes for the highest risk, it
    /// usually declines by itself.
    RiskLevel {
        /// As most payments.
        Normal,
        /// More than most.
        Elevated,
        /// As much as there is.
        Highest,
    }

    /// When the rules look at an order.
    Stage {
        /// Before its payment is asked for.
        BeforePayment,
        /// Once its payment is authorised, and before the money is taken.
        AfterAuthorisation,
    }
}

impl Stage {
    /// The stage of this attempt of the step that screens.
    #[must_use]
    pub const fn of_attempt(attempt: u32) -> Self {
        if attempt > 1 { Self::AfterAuthorisation } else { Self::BeforePayment }
    }
}

/// The network that a customer orders from: what is kept of their address.
///
/// **Shape.** The first 24 bits of an IPv4 address or the first 48 of an IPv6 one, such as
/// `203.0.113.0/24`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Network(String);

impl Network {
    /// The network of an address. The rest of the address is forgotten.
    #[must_use]
    pub fn of(address: IpAddr) -> Self {
        Self(match address.to_canonical() {
            IpAddr::V4(v4) => {
                let [a, b, c, _] = v4.octets();
                format!("{a}.{b}.{c}.0/24")
            }
            IpAddr::V6(v6) => {
                let [a, b, c, ..] = v6.segments();
                format!("{}/48", Ipv6Addr::new(a, b, c, 0, 0, 0, 0, 0))
            }
        })
    }

    /// Reads an address, or a network of just this size.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let (address, size) = text.split_once('/').unzip();
        let network = Self::of(address.unwrap_or(text).parse().ok()?);
        (size.is_none() || network.0 == text).then_some(network)
    }

    /// The network as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Over what orders are counted: those of the same subject, so many seconds back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Window {
    /// What they have in common.
    pub of: Subject,
    /// How far back.
    pub seconds: u32,
}

impl Window {
    fn limited(of: Subject, seconds: u32) -> Self {
        Self { of, seconds: seconds.min(WINDOW_SECONDS_MAX) }
    }
}

/// What a rule looks for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema), schema(as = ScreeningCondition))]
pub enum Condition {
    /// More orders of the same subject than this within the time, this order included.
    Velocity {
        /// What they have in common.
        of: Subject,
        /// How far back they are counted.
        seconds: u32,
        /// How many may be.
        more_than: u32,
    },
    /// The order costs more than this. An order in another currency is not meant.
    AmountAbove(Money),
    /// The customer has completed no order before.
    FirstOrder,
    /// The parcel goes to another country than most of the customer's orders before.
    UnusualCountry,
    /// Something of the order is on this list.
    Listed(ListKind),
    /// The payment method is from another country than the parcel goes to.
    MethodCountry,
    /// The payment provider takes the payment to be as risky as this, or more.
    ProviderRisk(RiskLevel),
}

/// What follows where a rule's condition holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub enum Effect {
    /// The rule decides by itself.
    Verdict(Verdict),
    /// The rule adds so much to what speaks against the order.
    Weight(u32),
}

/// One rule.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema), schema(as = ScreeningRule))]
pub struct Rule {
    /// What people call it; no other rule of the set is called so.
    #[cfg_attr(
        feature = "openapi",
        schema(min_length = 1, max_length = 64, example = "customer-hourly")
    )]
    pub name: String,
    /// Whether it decides, or is tried out.
    pub mode: Mode,
    /// What it looks for.
    pub when: Condition,
    /// What follows.
    pub effect: Effect,
}

/// All rules, and what their weights come to. A set is never changed: another one takes its place.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema), schema(as = ScreeningRules))]
pub struct RuleSet {
    /// From this weight on, a person looks at the order.
    pub review_at: u32,
    /// From this weight on, the order is declined.
    pub decline_at: u32,
    /// What is decided of an order at which nobody has looked in time.
    pub review_default: ReviewDecision,
    /// The rules.
    #[cfg_attr(feature = "openapi", schema(max_items = 100))]
    pub rules: Vec<Rule>,
}

/// A rule for sets of rules that is broken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// Where in the set: a JSON pointer.
    pub pointer: String,
    /// What would be right.
    pub why: &'static str,
}

/// So many orders in a window, the one that is looked at included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Count {
    /// Over what they are counted.
    pub window: Window,
    /// How many.
    pub orders: u64,
}

/// Something of the order is on a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Listing {
    /// Which list.
    pub list: ListKind,
    /// What of the order.
    pub subject: Subject,
}

/// What is known of an order when the rules look at it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Facts {
    /// What it costs.
    pub total: Money,
    /// Where it goes.
    pub ship_to: CountryCode,
    /// Whether its customer has completed no order before.
    pub is_first_order: bool,
    /// Where most of the customer's orders before went, if there were any.
    pub usual_country: Option<CountryCode>,
    /// Where the payment method is from, if the provider has said so.
    pub method_country: Option<CountryCode>,
    /// How risky the provider takes the payment to be, if it has said so.
    pub risk: Option<RiskLevel>,
    /// How many orders there are in each window that the rules count over.
    pub counts: Vec<Count>,
    /// What of it is on a list.
    pub listings: Vec<Listing>,
}

/// What a rule has found. It names no person, address or card.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema), schema(as = ScreeningReason))]
pub struct Finding {
    /// The rule.
    #[cfg_attr(feature = "openapi", schema(example = "customer-hourly"))]
    pub rule: String,
    /// Whether it decides. What a rule in the mode `shadow` finds decided nothing.
    pub mode: Mode,
    /// What follows from it.
    pub effect: Effect,
    /// What was seen.
    #[cfg_attr(
        feature = "openapi",
        schema(example = "6 orders of the same customer within 3600 s, more than 5")
    )]
    pub why: String,
}

/// What the rules make of an order at one stage.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Assessment {
    /// What becomes of it.
    pub verdict: Verdict,
    /// What speaks against it, by the weights of the active rules.
    pub weight: u32,
    /// What every rule has found, in the order of the rules.
    pub findings: Vec<Finding>,
}

/// What the step that screens an order answers.
///
/// **Shape.** `{"waits_until":…}`, or `{"rule_set":3}`. An order that is declined is refused.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum ScreeningAnswer {
    /// A person looks at it: asked again under the same key after this time, or when there is news,
    /// the step answers what was decided.
    Waits {
        /// Until when they have time.
        waits_until: DateTime<Utc>,
    },
    /// Nothing stops it any more: the rules did not, or a person has approved it.
    Passed {
        /// The version of the set of rules that looked at it.
        rule_set: u32,
    },
}

impl RuleSet {
    /// What is wrong with a set that somebody brings in, although it can be read.
    #[must_use]
    pub fn faults(&self) -> Vec<Fault> {
        let mut faults = Vec::new();
        let mut broken = |pointer: String, why| faults.push(Fault { pointer, why });
        if self.review_at > self.decline_at {
            broken("/review_at".to_owned(), "no more than `decline_at`");
        }
        if self.rules.len() > RULES_MAX {
            broken("/rules".to_owned(), "100 rules at most");
        }
        let mut names = BTreeSet::new();
        for (rule, place) in self.rules.iter().zip(0_usize..) {
            let name = line_as_written(&rule.name, NAME_MAX);
            if name.as_ref() != Ok(&rule.name) || !names.insert(&rule.name) {
                let why = "a name of 1 to 64 characters on one line that no other rule has";
                broken(format!("/rules/{place}/name"), why);
            }
            let window = rule.when.seconds();
            if window.is_some_and(|seconds| !(1..=WINDOW_SECONDS_MAX).contains(&seconds)) {
                let why = "a time of 1 to 2592000 seconds";
                broken(format!("/rules/{place}/when/velocity/seconds"), why);
            }
        }
        faults
    }

    /// Every window that the rules count over, each once.
    #[must_use]
    pub fn windows(&self) -> BTreeSet<Window> {
        self.rules.iter().filter_map(|rule| rule.when.window()).collect()
    }

    /// What the rules of a stage make of these facts.
    ///
    /// A subject that is blocked is declined whatever else holds. Otherwise one that is allowed is
    /// approved; then the strictest verdict counts, of a rule or of all weights together.
    #[must_use]
    pub fn assess(&self, stage: Stage, facts: &Facts) -> Assessment {
        let looking = self.rules.iter().filter(|rule| rule.when.stage() == stage);
        let holding: Vec<(&Rule, Finding)> =
            looking.filter_map(|rule| Some((rule, rule.finding(facts)?))).collect();
        let active =
            || holding.iter().map(|(rule, _)| *rule).filter(|rule| rule.mode == Mode::Active);
        let says = |verdict| active().any(|rule| rule.effect == Effect::Verdict(verdict));
        let weight = active().fold(0_u32, |sum, rule| sum.saturating_add(rule.effect.weight()));
        let verdict = if active().any(Rule::blocks) {
            Verdict::Decline
        } else if says(Verdict::Approve) {
            Verdict::Approve
        } else if says(Verdict::Decline) || weight >= self.decline_at {
            Verdict::Decline
        } else if says(Verdict::Review) || weight >= self.review_at {
            Verdict::Review
        } else {
            Verdict::Approve
        };
        let findings = holding.into_iter().map(|(_, finding)| finding).collect();
        Assessment { verdict, weight, findings }
    }
}

impl Rule {
    fn finding(&self, facts: &Facts) -> Option<Finding> {
        let why = self.when.observed(facts)?;
        Some(Finding { rule: self.name.clone(), mode: self.mode, effect: self.effect, why })
    }

    fn blocks(&self) -> bool {
        self.when == Condition::Listed(ListKind::Block)
            && self.effect == Effect::Verdict(Verdict::Decline)
    }
}

impl Effect {
    const fn weight(self) -> u32 {
        match self {
            Self::Verdict(_) => 0,
            Self::Weight(weight) => weight,
        }
    }
}

impl Condition {
    const fn stage(&self) -> Stage {
        match self {
            Self::Velocity { .. }
            | Self::AmountAbove(_)
            | Self::FirstOrder
            | Self::UnusualCountry
            | Self::Listed(_) => Stage::BeforePayment,
            Self::MethodCountry | Self::ProviderRisk(_) => Stage::AfterAuthorisation,
        }
    }

    fn window(&self) -> Option<Window> {
        match self {
            Self::Velocity { of, seconds, .. } => Some(Window::limited(*of, *seconds)),
            Self::AmountAbove(_)
            | Self::FirstOrder
            | Self::UnusualCountry
            | Self::Listed(_)
            | Self::MethodCountry
            | Self::ProviderRisk(_) => None,
        }
    }

    /// How far back it counts, as it was written.
    const fn seconds(&self) -> Option<u32> {
        match self {
            Self::Velocity { seconds, .. } => Some(*seconds),
            Self::AmountAbove(_)
            | Self::FirstOrder
            | Self::UnusualCountry
            | Self::Listed(_)
            | Self::MethodCountry
            | Self::ProviderRisk(_) => None,
        }
    }

    /// What was seen, if it holds.
    fn observed(&self, facts: &Facts) -> Option<String> {
        match self {
            Self::Velocity { of, seconds, more_than } => {
                let window = Window::limited(*of, *seconds);
                let counted = facts.counts.iter().find(|count| count.window == window)?;
                let Count { orders, window: Window { seconds, .. } } = counted;
                (*orders > u64::from(*more_than)).then(|| {
                    format!(
                        "{orders} orders of the same {of} within {seconds} s, more than {more_than}"
                    )
                })
            }
            Self::AmountAbove(limit) => {
                let total = facts.total;
                let is_above =
                    total.currency() == limit.currency() && total.amount() > limit.amount();
                is_above.then(|| format!("{total} is more than {limit}"))
            }
            Self::FirstOrder => facts
                .is_first_order
                .then(|| "the customer has completed no order before".to_owned()),
            Self::UnusualCountry => {
                let usual = facts.usual_country.filter(|usual| *usual != facts.ship_to)?;
                let to = facts.ship_to;
                Some(format!("the parcel goes to {to}, the customer's usually go to {usual}"))
            }
            Self::Listed(list) => {
                let on_it = facts.listings.iter().filter(|listing| listing.list == *list);
                let what: Vec<_> = on_it.map(|listing| listing.subject.name()).collect();
                (!what.is_empty()).then(|| format!("on the {list} list: {}", what.join(", ")))
            }
            Self::MethodCountry => {
                let from = facts.method_country.filter(|from| *from != facts.ship_to)?;
                let to = facts.ship_to;
                Some(format!("the parcel goes to {to}, the payment method is from {from}"))
            }
            Self::ProviderRisk(level) => {
                let risk = facts.risk.filter(|risk| risk >= level)?;
                Some(format!("the payment provider takes the risk for {risk}"))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn country(code: &str) -> CountryCode {
        CountryCode::parse(code).unwrap()
    }

    fn pounds(amount: &str) -> Money {
        Money::new(amount.parse().unwrap(), crate::Currency::GBP).unwrap()
    }

    /// An order against which nothing speaks.
    fn facts() -> Facts {
        Facts {
            total: pounds("23.10"),
            ship_to: country("GB"),
            is_first_order: false,
            usual_country: Some(country("GB")),
            method_country: Some(country("GB")),
            risk: Some(RiskLevel::Normal),
            counts: vec![],
            listings: vec![],
        }
    }

    fn set(rules: &Value) -> RuleSet {
        serde_json::from_value(json!({
            "review_at": 50, "decline_at": 100, "review_default": "decline", "rules": rules,
        }))
        .unwrap()
    }

    fn rule(when: &Value, effect: &Value) -> Value {
        json!({ "name": "one", "mode": "active", "when": when, "effect": effect })
    }

    /// The verdict of a set with this one rule, which asks for a review, at both stages.
    fn verdicts(when: &Value, facts: &Facts) -> [Verdict; 2] {
        let set = set(&json!([rule(when, &json!({ "verdict": "review" }))]));
        [Stage::BeforePayment, Stage::AfterAuthorisation]
            .map(|stage| set.assess(stage, facts).verdict)
    }

    #[test]
    fn each_condition_holds_for_what_it_says_at_its_stage_and_for_nothing_else() {
        use Verdict::{Approve, Review};
        let counted = |of, orders| vec![Count { window: Window { of, seconds: 3_600 }, orders }];
        let on = |list| vec![Listing { list, subject: Subject::Network }];
        let (before, after) = ([Review, Approve], [Approve, Review]);
        let velocity = json!({"velocity": {"of": "customer", "seconds": 3600, "more_than": 2}});
        let above = json!({"amount-above": {"amount": "23.09", "currency": "GBP"}});
        let elsewhere = json!({"amount-above": {"amount": "1.00", "currency": "EUR"}});
        for (when, changed, expected) in [
            (&velocity, Facts { counts: counted(Subject::Customer, 3), ..facts() }, before),
            (&velocity, Facts { counts: counted(Subject::Customer, 2), ..facts() }, [Approve; 2]),
            (&velocity, Facts { counts: counted(Subject::Network, 3), ..facts() }, [Approve; 2]),
            (&above, facts(), before),
            (&above, Facts { total: pounds("23.09"), ..facts() }, [Approve; 2]),
            (&elsewhere, facts(), [Approve; 2]),
            (&json!("first-order"), Facts { is_first_order: true, ..facts() }, before),
            (&json!("first-order"), facts(), [Approve; 2]),
            (&json!("unusual-country"), Facts { ship_to: country("AQ"), ..facts() }, before),
            (&json!("unusual-country"), Facts { usual_country: None, ..facts() }, [Approve; 2]),
            (
                &json!({"listed": "block"}),
                Facts { listings: on(ListKind::Block), ..facts() },
                before,
            ),
            (
                &json!({"listed": "block"}),
                Facts { listings: on(ListKind::Allow), ..facts() },
                [Approve; 2],
            ),
            (
                &json!("method-country"),
                Facts { method_country: Some(country("US")), ..facts() },
                after,
            ),
            (&json!("method-country"), Facts { method_country: None, ..facts() }, [Approve; 2]),
            (&json!({"provider-risk": "elevated"}), facts(), [Approve; 2]),
            (
                &json!({"provider-risk": "elevated"}),
                Facts { risk: Some(RiskLevel::Elevated), ..facts() },
                after,
            ),
            (
                &json!({"provider-risk": "elevated"}),
                Facts { risk: Some(RiskLevel::Highest), ..facts() },
                after,
            ),
            (&json!({"provider-risk": "elevated"}), Facts { risk: None, ..facts() }, [Approve; 2]),
        ] {
            assert_eq!(verdicts(when, &changed), expected, "{when}");
        }
    }

    #[test]
    fn weights_add_up_to_a_review_and_then_to_a_decline() {
        let new = Facts { is_first_order: true, ship_to: country("AQ"), ..facts() };
        for (weights, verdict) in [
            ([24, 25], Verdict::Approve),
            ([25, 25], Verdict::Review),
            ([50, 49], Verdict::Review),
            ([50, 50], Verdict::Decline),
            ([u32::MAX, 1], Verdict::Decline),
        ] {
            let [first, unusual] = weights.map(|weight| json!({ "weight": weight }));
            let rules =
                [rule(&json!("first-order"), &first), rule(&json!("unusual-country"), &unusual)];
            let assessed = set(&json!(rules)).assess(Stage::BeforePayment, &new);
            assert_eq!(assessed.verdict, verdict, "{weights:?}");
            assert_eq!(assessed.findings.len(), 2);
        }
    }

    #[test]
    fn a_rule_in_the_shadow_finds_and_decides_nothing() {
        let new = Facts { is_first_order: true, ..facts() };
        for effect in [json!({ "verdict": "decline" }), json!({ "weight": 1_000 })] {
            let mut shadow = rule(&json!("first-order"), &effect);
            shadow["mode"] = json!("shadow");
            let assessed = set(&json!([shadow])).assess(Stage::BeforePayment, &new);
            assert_eq!((assessed.verdict, assessed.weight), (Verdict::Approve, 0));
            let found: Vec<_> = assessed.findings.iter().map(|finding| finding.mode).collect();
            assert_eq!(found, [Mode::Shadow]);
        }
    }

    #[test]
    fn who_is_allowed_passes_every_rule_but_the_block_list() {
        let allow = rule(&json!({"listed": "allow"}), &json!({ "verdict": "approve" }));
        let block = rule(&json!({"listed": "block"}), &json!({ "verdict": "decline" }));
        let strict = rule(&json!("first-order"), &json!({ "verdict": "decline" }));
        let set = set(&json!([strict, allow, block]));
        let on = |list| Listing { list, subject: Subject::Customer };
        let verdict = |listings: Vec<Listing>| {
            let known = Facts { is_first_order: true, listings, ..facts() };
            set.assess(Stage::BeforePayment, &known).verdict
        };
        assert_eq!(verdict(vec![]), Verdict::Decline);
        assert_eq!(verdict(vec![on(ListKind::Allow)]), Verdict::Approve);
        assert_eq!(verdict(vec![on(ListKind::Allow), on(ListKind::Block)]), Verdict::Decline);
    }

    #[test]
    fn a_window_is_counted_once_and_is_never_longer_than_what_is_kept() {
        let velocity = |seconds: u32, more_than: u32| {
            let when =
                json!({"velocity": {"of": "network", "seconds": seconds, "more_than": more_than}});
            rule(&when, &json!({ "weight": 1 }))
        };
        let set = set(&json!([velocity(60, 1), velocity(60, 5), velocity(u32::MAX, 9)]));
        let windows: Vec<_> = set.windows().into_iter().map(|window| window.seconds).collect();
        assert_eq!(windows, [60, WINDOW_SECONDS_MAX]);
    }

    #[test]
    fn a_set_with_a_misspelt_rule_is_none() {
        for wrong in [
            json!([{ "name": "a", "mode": "active", "when": "first-ordr", "effect": {"weight": 1} }]),
            json!([{ "name": "a", "mode": "actve", "when": "first-order", "effect": {"weight": 1} }]),
            json!([{ "name": "a", "mode": "active", "when": "first-order", "effect": {"weight": -1} }]),
            json!([{ "name": "a", "mode": "active", "when": "first-order", "efect": {"weight": 1} }]),
        ] {
            let set = json!({
                "review_at": 1, "decline_at": 2, "review_default": "approve", "rules": wrong,
            });
            assert!(serde_json::from_value::<RuleSet>(set).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_set_that_can_be_read_and_makes_no_sense_has_faults() {
        let velocity = |name: &str, seconds: u32| {
            let when = json!({"velocity": {"of": "network", "seconds": seconds, "more_than": 1}});
            json!({ "name": name, "mode": "active", "when": when, "effect": { "weight": 1 } })
        };
        let good = set(&json!([velocity("a", 1), velocity("b", WINDOW_SECONDS_MAX)]));
        assert_eq!(good.faults(), Vec::<Fault>::new());
        assert_eq!(RuleSet { review_at: 100, ..good.clone() }.faults(), Vec::<Fault>::new());
        let pointers = |set: &RuleSet| -> Vec<String> {
            set.faults().into_iter().map(|fault| fault.pointer).collect()
        };
        assert_eq!(pointers(&RuleSet { review_at: 101, ..good }), ["/review_at"]);
        let bad = set(&json!([
            velocity("a", 0),
            velocity("a", 1),
            velocity("", 1),
            velocity(" b", 1),
            velocity(&"x".repeat(65), u32::MAX),
        ]));
        assert_eq!(
            pointers(&bad),
            [
                "/rules/0/when/velocity/seconds",
                "/rules/1/name",
                "/rules/2/name",
                "/rules/3/name",
                "/rules/4/name",
                "/rules/4/when/velocity/seconds",
            ]
        );
        let many: Vec<_> = (0..=RULES_MAX).map(|number| velocity(&number.to_string(), 1)).collect();
        assert_eq!(pointers(&set(&json!(many))), ["/rules"]);
    }

    #[test]
    fn of_an_address_the_network_is_kept_and_no_more() {
        let of = |address: &str| Network::of(address.parse().unwrap()).as_str().to_owned();
        assert_eq!(of("203.0.113.77"), "203.0.113.0/24");
        assert_eq!(of("::ffff:203.0.113.77"), "203.0.113.0/24");
        assert_eq!(of("2001:db8:1:2:3:4:5:6"), "2001:db8:1::/48");
        let read = |text: &str| Network::parse(text).map(|network| network.as_str().to_owned());
        for text in ["203.0.113.77", "203.0.113.0/24"] {
            assert_eq!(read(text).as_deref(), Some("203.0.113.0/24"), "{text}");
        }
        for wrong in ["203.0.113.0/16", "203.0.113.77/24", "203.0.113", "", "/24", "example.org"] {
            assert_eq!(read(wrong), None, "{wrong}");
        }
    }
}
