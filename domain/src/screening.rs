//! Fraud screening: the rules, and the decision that follows from them.
//!
//! A rule set is evaluated twice: before the payment is requested, and once it is authorised, with
//! the provider's data about it. Each rule whose condition holds leaves a [`Finding`], which
//! carries a verdict or a weight. A rule in the mode `shadow` is on trial: its findings are
//! recorded and decide nothing. A whole set can be tried in the same way, next to the active one.
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

/// The longest counting window: thirty days. A rule with a longer one uses this.
pub const WINDOW_SECONDS_MAX: u32 = 2_592_000;

/// The most rules in a set.
pub const RULES_MAX: usize = 100;

/// The most characters in a rule's name.
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
                /// The name as the database and JSON write it.
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
    /// What orders are counted by, and what lists have entries of.
    Subject {
        /// The customer.
        Customer,
        /// The provider's token for the card.
        PaymentMethod,
        /// The street and town of the destination, whoever lives there.
        Address,
        /// The network that the customer ordered from.
        Network,
    }

    /// Whether a rule's findings decide.
    Mode {
        /// They do.
        Active,
        /// They are recorded and decide nothing.
        Shadow,
    }

    /// The verdict about an order.
    Verdict {
        /// The order continues.
        Approve,
        /// A person reviews it first.
        Review,
        /// It is rejected.
        Decline,
    }

    /// A review's decision about an order, made by a person or by the deadline.
    ReviewDecision {
        /// The order continues.
        Approve,
        /// The order is rejected.
        Decline,
    }

    /// A list of subjects.
    ListKind {
        /// Subjects that are not sold to.
        Block,
        /// Subjects that are known to be good.
        Allow,
    }

    /// The payment provider's risk level of a payment. The provider usually declines the highest
    /// risk itself.
    RiskLevel {
        /// As for most payments.
        Normal,
        /// Higher than for most payments.
        Elevated,
        /// The highest level.
        Highest,
    }

    /// When an order is screened.
    Stage {
        /// Before its payment is requested.
        BeforePayment,
        /// Once its payment is authorised, and before it is captured.
        AfterAuthorisation,
    }
}

impl Stage {
    /// The stage of this attempt of the screening step.
    #[must_use]
    pub const fn of_attempt(attempt: u32) -> Self {
        if attempt > 1 { Self::AfterAuthorisation } else { Self::BeforePayment }
    }
}

/// The network that a customer orders from, which is kept instead of the full IP address.
///
/// **Shape.** The first 24 bits of an IPv4 address or the first 48 of an IPv6 one, such as
/// `203.0.113.0/24`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Network(String);

impl Network {
    /// The network of an address. The rest of the address is discarded.
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

    /// Parses an address, or a network of exactly this size.
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

/// A counting window: orders of the same subject, over the last `seconds`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Window {
    /// The common subject.
    pub of: Subject,
    /// How far back.
    pub seconds: u32,
}

impl Window {
    fn limited(of: Subject, seconds: u32) -> Self {
        Self { of, seconds: seconds.min(WINDOW_SECONDS_MAX) }
    }
}

/// A rule's condition.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema), schema(as = ScreeningCondition))]
pub enum Condition {
    /// More orders of the same subject than this within the window, including this order.
    Velocity {
        /// The common subject.
        of: Subject,
        /// The length of the window.
        seconds: u32,
        /// How many orders are allowed.
        more_than: u32,
    },
    /// The order costs more than this. Never holds for an order in another currency.
    AmountAbove(Money),
    /// The customer has completed no order before.
    FirstOrder,
    /// The parcel goes to another country than most of the customer's earlier orders.
    UnusualCountry,
    /// One of the order's subjects is on this list.
    Listed(ListKind),
    /// The payment method is from another country than the parcel's destination.
    MethodCountry,
    /// The payment provider's risk level is this or higher.
    ProviderRisk(RiskLevel),
}

/// The effect of a rule whose condition holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub enum Effect {
    /// The rule decides by itself.
    Verdict(Verdict),
    /// The rule adds this to the order's weight.
    Weight(u32),
}

/// One rule.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema), schema(as = ScreeningRule))]
pub struct Rule {
    /// Its name, unique within the set.
    #[cfg_attr(
        feature = "openapi",
        schema(min_length = 1, max_length = 64, example = "customer-hourly")
    )]
    pub name: String,
    /// Whether it decides, or is on trial.
    pub mode: Mode,
    /// Its condition.
    pub when: Condition,
    /// Its effect.
    pub effect: Effect,
}

/// A set of rules with its thresholds. A set is immutable: a new one replaces it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema), schema(as = ScreeningRules))]
pub struct RuleSet {
    /// From this weight on, a person reviews the order.
    pub review_at: u32,
    /// From this weight on, the order is declined.
    pub decline_at: u32,
    /// The decision if nobody reviews the order in time.
    pub review_default: ReviewDecision,
    /// The rules.
    #[cfg_attr(feature = "openapi", schema(max_items = 100))]
    pub rules: Vec<Rule>,
}

/// A violation in a rule set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// The position in the set: a JSON pointer.
    pub pointer: String,
    /// The valid values.
    pub why: &'static str,
}

/// The number of orders in a window, including the one being screened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Count {
    /// Over what they are counted.
    pub window: Window,
    /// How many.
    pub orders: u64,
}

/// An order's subject that is on a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Listing {
    /// Which list.
    pub list: ListKind,
    /// The subject.
    pub subject: Subject,
}

/// The facts about an order that the rules are evaluated on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Facts {
    /// The order's total.
    pub total: Money,
    /// The destination.
    pub ship_to: CountryCode,
    /// Whether the customer has completed no order before.
    pub is_first_order: bool,
    /// The most frequent destination of the customer's earlier orders, if any.
    pub usual_country: Option<CountryCode>,
    /// The country of the payment method, if the provider knows it.
    pub method_country: Option<CountryCode>,
    /// The provider's risk level of the payment, if it gave one.
    pub risk: Option<RiskLevel>,
    /// The number of orders in each window that the rules use.
    pub counts: Vec<Count>,
    /// The order's subjects that are on a list.
    pub listings: Vec<Listing>,
}

/// A rule's finding. It names no person, address or card.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema), schema(as = ScreeningReason))]
pub struct Finding {
    /// The rule.
    #[cfg_attr(feature = "openapi", schema(example = "customer-hourly"))]
    pub rule: String,
    /// Whether it decides. A finding of a rule in the mode `shadow` decided nothing.
    pub mode: Mode,
    /// Its effect.
    pub effect: Effect,
    /// What was observed.
    #[cfg_attr(
        feature = "openapi",
        schema(example = "6 orders of the same customer within 3600 s, more than 5")
    )]
    pub why: String,
}

/// The result of screening an order at one stage.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Assessment {
    /// The verdict about the order.
    pub verdict: Verdict,
    /// The sum of the weights of the active rules whose condition holds.
    pub weight: u32,
    /// The findings of all rules, in the order of the rules.
    pub findings: Vec<Finding>,
}

/// The answer of the screening step.
///
/// **Shape.** `{"waits_until":…}`, or `{"rule_set":3}`. A declined order is a refusal instead.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum ScreeningAnswer {
    /// A person reviews the order. If asked again under the same key after this time, or after a
    /// hint, the step returns the decision.
    Waits {
        /// The deadline of the review.
        waits_until: DateTime<Utc>,
    },
    /// The order passed: the rules allow it, or a person has approved it.
    Passed {
        /// The version of the rule set that was used.
        rule_set: u32,
    },
}

impl RuleSet {
    /// The violations in a submitted rule set that could be parsed.
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

    /// All windows that the rules use, each once.
    #[must_use]
    pub fn windows(&self) -> BTreeSet<Window> {
        self.rules.iter().filter_map(|rule| rule.when.window()).collect()
    }

    /// Evaluates the rules of a stage.
    ///
    /// An active rule that declines a blocked subject wins over everything. Otherwise an active
    /// approval wins; then the strictest verdict counts, of a single rule or of the sum of weights.
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

    /// The length of its window, as written.
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

    /// What was observed, if the condition holds.
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

    /// An order without any suspicious facts.
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

    /// The verdicts, at both stages, of a set with this one rule, which requests a review.
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
