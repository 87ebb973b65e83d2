//! The sandbox carrier's records.

use domain::shipment::ShipmentState;

use super::{Request, SandboxCarrier, Told};
use crate::party::line::Behaviour;

/// A shipment's row.
struct Row {
    shipment_id: i64,
    state: String,
    has_label: bool,
}

impl Row {
    fn told(self) -> Result<Told, sqlx::Error> {
        let Self { shipment_id, state, has_label } = self;
        let state =
            state.parse::<ShipmentState>().map_err(|error| sqlx::Error::Decode(Box::new(error)))?;
        let tracking = has_label.then(|| format!("SANDBOX{shipment_id:08}"));
        Ok(Told { id: format!("sandbox-shipment-{shipment_id}"), state, tracking })
    }
}

impl SandboxCarrier {
    /// The fault of a request, if any; decrements its counter.
    pub(super) async fn behaviour_of(
        &self,
        request: &Request,
    ) -> Result<Option<Behaviour>, sqlx::Error> {
        let (call, shipment, reference, country) = match request {
            Request::Draft { reference, country, .. } => {
                ("draft", None, Some(reference.as_str()), Some(country.as_str()))
            }
            Request::Purchase { shipment } => ("purchase", Some(*shipment), None, None),
            Request::Cancel { shipment } => ("cancel", Some(*shipment), None, None),
            Request::LookUp { shipment } => ("look-up", Some(*shipment), None, None),
        };
        sqlx::query_as!(
            Behaviour,
            r#"
            update sandbox_carrier.behaviours set remaining = remaining - 1
            where behaviour_id = (
                select behaviour_id from sandbox_carrier.behaviours
                where call in ($1, '*') and coalesce(remaining, 1) > 0 and whom in (
                    select '*'
                    union all select known.whom
                    from (
                        select $3::text as reference, $4::text as country
                        union all
                        select reference, country from sandbox_carrier.shipments
                        where shipment_id = $2
                    ) as meant cross join lateral (
                        values (reference), (split_part(reference, ':', 1)), (country)
                    ) as known (whom)
                )
                order by behaviour_id limit 1
                for update
            )
            returning behaviour as name, retry_after, seconds
            "#,
            call,
            shipment,
            reference,
            country,
        )
        .fetch_optional(self.db.statements())
        .await
    }

    /// Stores a request to be executed later.
    pub(super) async fn hold_up(&self, request: &Request) -> Result<(), sqlx::Error> {
        let request = serde_json::to_value(request);
        let request = request.map_err(|error| sqlx::Error::Encode(error.into()))?;
        sqlx::query!("insert into sandbox_carrier.late_requests (request) values ($1)", request)
            .execute(self.db.statements())
            .await
            .map(drop)
    }

    /// Takes the oldest delayed request, which thereby arrives.
    pub(super) async fn next_late_request(&self) -> Result<Option<Request>, sqlx::Error> {
        let request = sqlx::query_scalar!(
            r#"
            update sandbox_carrier.late_requests set landed_at = now()
            where request_id = (
                select min(request_id) from sandbox_carrier.late_requests where landed_at is null
            )
            returning request
            "#
        );
        let request =
            request.fetch_optional(self.db.statements()).await?.map(serde_json::from_value);
        request.transpose().map_err(|error| sqlx::Error::Decode(error.into()))
    }

    /// Forgets a reference that is older than this.
    pub(super) async fn forget(&self, reference: &str, seconds: i32) -> Result<(), sqlx::Error> {
        sqlx::query!(
            "update sandbox_carrier.shipments set is_remembered = false
             where reference = $1 and drafted_at <= now() - make_interval(secs => $2)",
            reference,
            f64::from(seconds),
        )
        .execute(self.db.statements())
        .await
        .map(drop)
    }

    /// Drafts a shipment, or finds the one under this reference.
    pub(super) async fn draft_once(
        &self,
        reference: &str,
        country: &str,
        pieces: u64,
    ) -> Result<Told, sqlx::Error> {
        let pieces = i64::try_from(pieces).map_err(|error| sqlx::Error::Encode(error.into()))?;
        sqlx::query_as!(
            Row,
            r#"
            insert into sandbox_carrier.shipments as known (reference, country, pieces)
            values ($1, $2, $3)
            -- Changes nothing, but answers with the shipment, also one made at this moment.
            on conflict (reference) where is_remembered do update set reference = known.reference
            returning shipment_id, state, purchased_at is not null as "has_label!"
            "#,
            reference,
            country,
            pieces,
        )
        .fetch_one(self.db.statements())
        .await?
        .told()
    }

    /// Buys the label, once. `None`: the shipment is cancelled, or unknown.
    pub(super) async fn purchase_once(
        &self,
        shipment_id: i64,
    ) -> Result<Option<Told>, sqlx::Error> {
        let purchased = sqlx::query_as!(
            Row,
            r#"
            update sandbox_carrier.shipments
            set state = 'purchased', purchased_at = coalesce(purchased_at, now())
            where shipment_id = $1 and state in ('drafted', 'purchased')
            returning shipment_id, state, purchased_at is not null as "has_label!"
            "#,
            shipment_id,
        );
        purchased.fetch_optional(self.db.statements()).await?.map(Row::told).transpose()
    }

    /// Cancels the shipment for good. `None`: the shipment is unknown.
    pub(super) async fn cancel_once(&self, shipment_id: i64) -> Result<Option<Told>, sqlx::Error> {
        let cancelled = sqlx::query_as!(
            Row,
            r#"
            update sandbox_carrier.shipments
            set state = 'cancelled', cancelled_at = coalesce(cancelled_at, now())
            where shipment_id = $1
            returning shipment_id, state, purchased_at is not null as "has_label!"
            "#,
            shipment_id,
        );
        cancelled.fetch_optional(self.db.statements()).await?.map(Row::told).transpose()
    }

    pub(super) async fn shipment(&self, shipment_id: i64) -> Result<Option<Told>, sqlx::Error> {
        let found = sqlx::query_as!(
            Row,
            r#"
            select shipment_id, state, purchased_at is not null as "has_label!"
            from sandbox_carrier.shipments where shipment_id = $1
            "#,
            shipment_id,
        );
        found.fetch_optional(self.db.statements()).await?.map(Row::told).transpose()
    }
}
