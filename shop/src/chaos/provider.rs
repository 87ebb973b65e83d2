//! Who takes the customers' money while the worst is done, and what customers have to do for it.

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

/// Who takes it, and where what stands for them is.
#[derive(Clone, Args)]
pub(super) struct ProviderArgs {
    /// Who takes the customers' money: the same as for worker and API.
    #[arg(long, env = "PAYMENT_PROVIDER", default_value = "sandbox",
        value_parser = PossibleValuesParser::new(ProviderName::NAMES)
            .try_map(|name| name.parse::<ProviderName>()))]
    provider: ProviderName,

    /// Where Stripe's counterpart is, if Stripe is the provider.
    #[arg(long, env = "ORDERSAGA_STRIPE_URL")]
    stripe_counterpart: Option<String>,

    /// The secrets by which the counterpart signs what it tells the shop by itself, as the API has
    /// them; without, it tells nothing.
    #[arg(long, env = "STRIPE_WEBHOOK_SECRETS", hide_env_values = true)]
    webhook_secrets: Option<String>,

    /// The shop's account at its bank, if customers transfer their money.
    #[arg(long, env = "BANK_IBAN")]
    bank_iban: Option<String>,

    /// The folder that the bank's files are put in.
    #[arg(long, env = "ORDERSAGA_BANK_FILES")]
    bank_files: Option<PathBuf>,
}

/// The same, reached.
pub(super) enum Provider {
    /// The sandbox, which is asked in the shop's database.
    Sandbox,
    /// Stripe's counterpart.
    Stripe(Counterpart),
    /// The shop's bank.
    Bank(Bank),
}

/// What a customer cannot do by then, they never do.
const PATIENCE: Duration = Duration::from_mins(3);

const BETWEEN_LOOKS: Duration = Duration::from_millis(500);

impl Provider {
    /// Reaches it; `api` is where the shop's API is.
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

    /// From now on requests go wrong there by plan, so often that each of so many orders may meet
    /// it. The sandbox's do by its cards, and the bank's files by themselves.
    pub(super) async fn begins_to_fail(&self, orders: usize) -> Result<(), ChaosError> {
        match self {
            Self::Stripe(stripe) => Ok(stripe.begins_to_fail(orders).await?),
            Self::Sandbox | Self::Bank(_) => Ok(()),
        }
    }

    /// Nothing goes wrong by plan any more.
    pub(super) async fn goes_well(&self) -> Result<(), ChaosError> {
        match self {
            Self::Stripe(stripe) => Ok(stripe.goes_well().await?),
            Self::Sandbox | Self::Bank(_) => Ok(()),
        }
    }

    /// Does what it does by itself while customers order, and what is left of it once they have
    /// ordered enough.
    pub(super) async fn work_until(
        &self,
        enough: impl Future<Output = ()>,
    ) -> Result<(), ChaosError> {
        match self {
            Self::Bank(bank) => bank.give_files_until(enough).await,
            Self::Sandbox | Self::Stripe(_) => Ok(()),
        }
    }

    /// Does whatever an order asks its customer to do, so that it can go on. What they cannot do,
    /// because nobody answers them for long, is seen by the order's end.
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

    /// What it says itself of the orders with these statuses, if it has records that `prove` does
    /// not read; whether these are as they should be, and the shop's say the same. Only after such a
    /// comparison can `prove` say anything of payments at the provider.
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

    /// Whether what it has told the shop by itself is on record as it should be.
    pub(super) async fn told(&self, records: &Records) -> Result<Option<Check>, ChaosError> {
        match self {
            Self::Bank(bank) => Ok(Some(bank.on_record(&records.transfers().await?))),
            Self::Sandbox | Self::Stripe(_) => Ok(None),
        }
    }
}

/// What an order asks its customer to do, unless it asked for that before; nothing if it ends
/// without.
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
