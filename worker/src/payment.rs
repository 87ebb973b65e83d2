//! Chooses the payment provider: the sandbox, Stripe with the shop's own account, or the shop's
//! bank.

use std::sync::Arc;
use std::time::Duration;

use activities::party::{Breaker, Guarded};
use activities::payment::bank_transfer::BankTransferProvider;
use activities::payment::port::{EventSource, PaymentProvider};
use activities::payment::sandbox::SandboxProvider;
use activities::payment::stripe::{
    ApiKey, STRIPE_API_URL, StripeProvider, StripeSettings, UnusableSettings,
};
use clap::builder::{PossibleValuesParser, TypedValueParser as _};
use domain::ProviderName;
use reqwest::Url;
use runtime::database::{BadUrl, Database};
use tracing::info;

use crate::bank::{AccountArgs, NoAccount};

/// The payment provider.
#[derive(Clone, Debug, clap::Args)]
pub struct PaymentArgs {
    /// The payment provider
    #[arg(long, env = "PAYMENT_PROVIDER", default_value = "sandbox",
        value_parser = PossibleValuesParser::new(ProviderName::NAMES)
            .try_map(|name| name.parse::<ProviderName>()))]
    pub payment_provider: ProviderName,
    /// The percentage of charges that the sandbox provider declines at random
    #[arg(long, env = "SANDBOX_DECLINE_PERCENT", default_value_t = 0,
        value_parser = clap::value_parser!(u8).range(0..=100))]
    pub random_decline_percent: u8,
    /// The secret or restricted key of the shop's Stripe account
    #[arg(long, env = "STRIPE_API_KEY", hide_env_values = true)]
    pub stripe_api_key: Option<ApiKey>,
    /// The URL of Stripe's API
    #[arg(long, env = "STRIPE_API_URL", default_value = STRIPE_API_URL)]
    pub stripe_api_url: Url,
    /// URL to which customers return after approving a payment at their bank; without it, a payment
    /// that needs approval is declined
    #[arg(long, env = "STRIPE_RETURN_URL")]
    pub stripe_return_url: Option<Url>,
    /// Seconds between two polls of Stripe's list of events, by all workers together, besides its
    /// webhooks
    #[arg(long, env = "STRIPE_POLL_SECONDS", default_value_t = 60,
        value_parser = clap::value_parser!(u32).range(5..=3_600))]
    pub stripe_poll_seconds: u32,
    /// The account that customers transfer to.
    #[command(flatten)]
    pub bank: AccountArgs,
}

/// Why there is no usable payment provider.
#[derive(Debug, thiserror::Error)]
pub enum PaymentError {
    /// The sandbox provider's database.
    #[error("DATABASE_URL")]
    Database(#[from] BadUrl),
    /// Stripe is selected without a key.
    #[error("PAYMENT_PROVIDER is stripe, and STRIPE_API_KEY is not set")]
    NoKey,
    /// Bank transfer is selected without an account.
    #[error("PAYMENT_PROVIDER is bank-transfer")]
    Bank(#[from] NoAccount),
    /// The settings for Stripe are invalid.
    #[error("the settings for Stripe")]
    Stripe(#[from] UnusableSettings),
}

impl PaymentArgs {
    /// The provider, behind its circuit breaker; `records` makes the pools of a provider that keeps
    /// its records in the shop's database.
    ///
    /// **Errors.** The settings are unusable. The error never contains a key.
    pub fn provider(
        &self,
        records: impl FnOnce() -> Result<Database, BadUrl>,
        breaker: Arc<Breaker>,
    ) -> Result<Arc<dyn PaymentProvider>, PaymentError> {
        match self.payment_provider {
            ProviderName::Sandbox => {
                let provider = SandboxProvider::new(records()?, self.random_decline_percent);
                Ok(Arc::new(Guarded::new(provider, breaker)))
            }
            ProviderName::Stripe => {
                let settings = self.stripe()?;
                let mode = settings.api_key.mode()?.name();
                let provider = StripeProvider::new(&settings)?;
                info!(mode, at = %settings.api_url, "Stripe is the payment provider");
                Ok(Arc::new(Guarded::new(provider, breaker)))
            }
            ProviderName::BankTransfer => {
                let account = self.bank.account()?;
                info!(iban = %account.iban, "customers pay by bank transfer to the shop's account");
                let provider =
                    BankTransferProvider::new(records()?.transactions().clone(), account);
                Ok(Arc::new(Guarded::new(provider, breaker)))
            }
        }
    }

    /// The same provider as a source of events, if it has any.
    ///
    /// **Errors.** As for [`PaymentArgs::provider`].
    pub fn event_source(
        &self,
        breaker: Arc<Breaker>,
    ) -> Result<Option<Arc<dyn EventSource>>, PaymentError> {
        match self.payment_provider {
            ProviderName::Sandbox | ProviderName::BankTransfer => Ok(None),
            ProviderName::Stripe => {
                let provider = StripeProvider::new(&self.stripe()?)?;
                Ok(Some(Arc::new(Guarded::new(provider, breaker))))
            }
        }
    }

    /// How often its list of events is polled.
    #[must_use]
    pub fn poll_every(&self) -> Duration {
        Duration::from_secs(self.stripe_poll_seconds.into())
    }

    fn stripe(&self) -> Result<StripeSettings, PaymentError> {
        let api_key = self.stripe_api_key.clone().ok_or(PaymentError::NoKey)?;
        let api_url = self.stripe_api_url.clone();
        let return_url = self.stripe_return_url.clone();
        Ok(StripeSettings { api_key, api_url, return_url })
    }
}
