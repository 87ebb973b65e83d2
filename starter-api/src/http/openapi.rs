//! The API's own description: `/openapi.json`, and the interactive page `/docs`.

mod examples;

use axum::Router;
use axum::http::header;
use axum::response::IntoResponse;
use axum::routing::get;
use utoipa::openapi::OpenApi as Description;
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityRequirement, SecurityScheme};
use utoipa::{Modify, OpenApi};
use utoipa_axum::router::OpenApiRouter;
use utoipa_swagger_ui::{Config, SwaggerUi};

use crate::http::openapi::examples::Examples;

/// The document that every problem's `type` links to.
const PROBLEMS: &str = include_str!("../../../docs/problems.md");

/// The parts of the description that do not belong to an operation.
#[derive(OpenApi)]
#[openapi(
    info(
        title = "Ordersaga",
        description = "Takes orders and never loses one. Errors are \
                       [`application/problem+json`](/docs/problems.md).",
    ),
    tags(
        (name = "orders", description = "Place, follow and cancel"),
        (name = "quotes", description = "Price a basket"),
        (name = "products", description = "The catalogue"),
        (name = "stock", description = "Stock levels and movements, for staff"),
        (name = "customers", description = "Customers' particulars"),
        (name = "mail", description = "Mails and text messages to customers"),
        (name = "operators", description = "What waits for an operator, screening, task \
                                            queues, parties that orders depend on, and sinks that \
                                            messages go to"),
        (name = "disputes", description = "Payments that customers' banks dispute"),
        (name = "ledger", description = "Balances and transactions of the books"),
        (name = "identity", description = "Registration and tokens"),
        (name = "webhooks", description = "Events sent by the payment provider"),
        (name = "endpoints", description = "Webhook endpoints, to which the shop sends events"),
        (name = "operations", description = "Health, readiness and metrics"),
    ),
    // Relative to the URL of this description.
    servers((url = "/")),
    modifiers(&Preface),
)]
pub(crate) struct Preface;

impl Modify for Preface {
    /// Describes how a token is sent; each operation names the scope it requires.
    fn modify(&self, description: &mut Description) {
        let bearer = HttpBuilder::new().scheme(HttpAuthScheme::Bearer).bearer_format("JWT");
        let bearer = bearer.description(Some("From POST /v1/sessions or POST /oauth/token."));
        let components = description.components.get_or_insert_default();
        components.add_security_scheme("bearer", SecurityScheme::Http(bearer.build()));
    }
}

/// Names each operation by its tag and its function, such as `orders.list`, because function names
/// alone are not unique. The examples are looked up by that name. An operation without a security
/// requirement is marked as public.
pub(crate) fn named<S: Clone + Send + Sync + 'static>(
    mut operations: OpenApiRouter<S>,
) -> OpenApiRouter<S> {
    let examples = Examples::read();
    for path in operations.get_openapi_mut().paths.paths.values_mut() {
        let methods = [&mut path.get, &mut path.put, &mut path.post, &mut path.delete];
        for operation in methods.into_iter().chain([&mut path.patch]).flatten() {
            let tag = operation.tags.iter().flatten().next();
            if let (Some(tag), Some(name)) = (tag, &operation.operation_id) {
                let name = format!("{tag}.{name}");
                examples.show(&name, operation);
                operation.operation_id = Some(name);
            }
            operation.security.get_or_insert_with(|| vec![SecurityRequirement::default()]);
        }
    }
    remove_unused_schemas(operations.get_openapi_mut());
    operations
}

/// Removes unreferenced schemas: lists inline the schema of their items, and some of those are
/// generated as components too.
fn remove_unused_schemas(description: &mut Description) {
    let Ok(text) = serde_json::to_string(description) else { return };
    let is_used = |name: &str| text.contains(&format!("\"#/components/schemas/{name}\""));
    if let Some(components) = &mut description.components {
        components.schemas.retain(|name, _schema| is_used(name));
    }
}

/// The routes of the description itself.
pub(crate) fn pages<S: Clone + Send + Sync + 'static>(description: &Description) -> Router<S> {
    let page = SwaggerUi::new("/docs").config(Config::from("/openapi.json"));
    // Serialised once, because it does not change at run time.
    let json = serde_json::to_string(description).unwrap_or_default();
    Router::from(page)
        .route("/openapi.json", get(async || answer("application/json", json)))
        .route("/docs/problems.md", get(async || answer("text/markdown; charset=utf-8", PROBLEMS)))
}

fn answer(media_type: &'static str, body: impl IntoResponse) -> impl IntoResponse {
    ([(header::CONTENT_TYPE, media_type)], body)
}
