//! The payment provider during the chaos, and what customers have to do for it.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use clap::Args;
use clap::builder::{PossibleValuesParser, TypedValueParser as _};
use domain::ProviderName;
use tokio::time::sleep;
use uuid::Uuid;

use super::ChaosError;
use super::bank::Bank;
use super::checks::Check;
use super::records::Records;
use crate::ordersaga::Ordersaga;
use crate::plan::Twist;
use crate::stripe::{Counterpart, Must};

/// The provider, and where its counterpart is.
#[derive(Clone, Args)]
pub(super) struct ProviderArgs {
    /// The payment provider: the same as for worker and API
    #[arg(long, env = "PAYMENT_PROVIDER", default_value = "sandbox",
        value_parser = PossibleValuesParser::new(ProviderName::NAMES)
            .try_map(|name| name.parse::<ProviderName>()))]
    provider: ProviderName,

    /// The URL of Stripe's counterpart, if Stripe is the provider
    #[arg(long, env = "ORDERSAGA_STRIPE_URL")]
    stripe_counterpart: Option<String>,

    /// The secrets with which the counterpart signs webhooks, as set for the API; without them, it
    /// sends none
    #[arg(long, env = "STRIPE_WEBHOOK_SECRETS", hide_env_values = true)]
    webhook_secrets: Option<String>,

    /// The shop's bank account, if customers pay by transfer
    #[arg(long, env = "BANK_IBAN")]
    bank_iban: Option<String>,

    /// The folder for the bank's files
    #[arg(long, env = "ORDERSAGA_BANK_FILES")]
    bank_files: Option<PathBuf>,
}

/// A connection to the provider.
pub(super) enum Provider {
    /// The sandbox, controlled through the shop's database.
    Sandbox,
    /// Stripe's counterpart.
    Stripe(Counterpart),
    /// The shop's bank.
    Bank(Bank),
}

/// The time limit for a customer's action.
const PATIENCE: Duration = Duration::from_mins(3);

const BETWEEN_LOOKS: Duration = Duration::from_millis(500);

impl Provider {
    /// Connects to the provider; `api` is the URL of the shop's API.
    pub(super) async fn of(args: &ProviderArgs, api: &str) -> Result<Self, ChaosError> {
        match args.provider {
            ProviderName::Sandbox => Ok(Self::Sandbox),
            ProviderName::Stripe => {
                let secrets = args.webhook_secrets.as_deref();
                let stripe = Counterpart::at(args.stripe_counterpart.as_deref(), secrets)?;
                stripe.tells(api).await?;
                Ok(Self::Stripe(stripe))
            }
            ProviderName::BankTransfer => {
                let settings = args.bank_iban.clone().zip(args.bank_files.clone());
                let (iban, folder) = settings.ok_or(ChaosError::NoBank)?;
                Ok(Self::Bank(Bank::at(iban, folder)?))
            }
        }
    }

    pub(super) const fn name(&self) -> ProviderName {
        match self {
            Self::Sandbox => ProviderName::Sandbox,
            Self::Stripe(_) => ProviderName::Stripe,
            Self::Bank(_) => ProviderName::BankTransfer,
        }
    }

    /// Starts planned faults of requests, often enough that each order of this number may meet one.
    /// The sandbox's faults depend on its cards, and the bank's on its files.
    pub(super) async fn begins_to_fail(&self, orders: usize) -> Result<(), ChaosError> {
        match self {
            Self::Stripe(stripe) => Ok(stripe.begins_to_fail(orders).await?),
            Self::Sandbox | Self::Bank(_) => Ok(()),
        }
    }

    /// Ends planned faults.
    pub(super) async fn goes_well(&self) -> Result<(), ChaosError> {
        match self {
            Self::Stripe(stripe) => Ok(stripe.goes_well().await?),
            Self::Sandbox | Self::Bank(_) => Ok(()),
        }
    }

    /// Does the provider's own work while customers order, and what is left of it afterwards.
    pub(super) async fn work_until(
        &self,
        enough: impl Future<Output = ()>,
    ) -> Result<(), ChaosError> {
        match self {
            Self::Bank(bank) => bank.give_files_until(enough).await,
            Self::Sandbox | Self::Stripe(_) => Ok(()),
        }
    }

    /// Takes the action that an order requires of its customer. A failure to do so shows in the
    /// order's end.
    pub(super) async fn customer_acts(&self, shop: &Ordersaga, order: &str, twist: Twist) {
        match self {
            Self::Sandbox => {}
            Self::Stripe(stripe) => {
                if let Some(approves) = twist.answers_bank()
                    && let Some(page) = asked_for(shop, order, None).await
                {
                    stripe.answers_bank(&page, approves).await.ok();
                }
            }
            Self::Bank(bank) => bank.customer_pays(shop, order, twist).await,
        }
    }

    /// Compares the provider's own account of the orders with these statuses to the shop's, if it
    /// has records that `prove` does not read. `prove` can check payments at the provider only
    /// after such a comparison.
    pub(super) async fn account(
        &self,
        statuses: &BTreeMap<Uuid, String>,
    ) -> Result<bool, ChaosError> {
        match self {
            Self::Stripe(stripe) => {
                let must = statuses.iter().map(|(order, status)| {
                    let stands = status == "completed";
                    let once = Must::HaveTaken { returned: 0 };
                    (order.to_string(), if stands { once } else { Must::KeepNothing })
                });
                let has_taken = stripe.account(&must.collect()).await?;
                Ok(stripe.pays_out_and_agrees().await? && has_taken)
            }
            Self::Sandbox | Self::Bank(_) => Ok(true),
        }
    }

    /// Whether the events that it has sent are recorded correctly.
    pub(super) async fn told(&self, records: &Records) -> Result<Option<Check>, ChaosError> {
        match self {
            Self::Bank(bank) => Ok(Some(bank.on_record(&records.transfers().await?))),
            Self::Sandbox | Self::Stripe(_) => Ok(None),
        }
    }
}

/// The action that an order requires of its customer, unless it required that before; `None` if it
/// ends without one.
pub(super) async fn asked_for(
    shop: &Ordersaga,
    order: &str,
    before: Option<&str>,
) -> Option<String> {
    let began = Instant::now();
    while began.elapsed() < PATIENCE {
        if let Ok(order) = shop.show(order).await {
            if order.has_ended() {
                return None;
            }
            let asked = order.customers_link().filter(|link| Some(*link) != before);
            if let Some(link) = asked {
                return Some(link.to_owned());
            }
        }
        sleep(BETWEEN_LOOKS).await;
    }
    None
}
