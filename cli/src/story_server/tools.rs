//! The six tools, as `rmcp` serves them.

use std::borrow::Cow;

use rmcp::handler::server::router::tool::ToolRouter;
use rmcp::handler::server::wrapper::Parameters;
use rmcp::model::{
    CallToolResult, ContentBlock, Implementation, ProgressNotificationParam, ProtocolVersion, ServerCapabilities,
    ServerConfig,
};
use rmcp::service::RequestContext;
use rmcp::{RoleServer, ServerHandler, tool, tool_handler, tool_router};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::json;

use super::book::{Book, Ticket};

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct ReadContracts {
    /// Whose contracts.
    customer_id: String,
    /// Which contract.
    contract_id: String,
    /// Whether the terms of each document are wanted.
    include_terms: Option<bool>,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct ReadNotes {
    /// About whom.
    customer_id: String,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct CreateTicket {
    /// For whom.
    customer_id: String,
    /// One line.
    title: String,
    /// The text.
    body: String,
    /// `low`, `normal` or `urgent`.
    priority: Option<String>,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct ProposeRenewal {
    /// To whom.
    customer_id: String,
    /// For which contract.
    contract_id: String,
    /// For how long.
    months: u32,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct UpdateBilling {
    /// Whose account.
    customer_id: String,
    /// The new plan.
    plan: String,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct ExportContracts {
    /// Whose contracts; everybody's if absent.
    customer_id: Option<String>,
}

/// Documents between two words of progress.
const TELLS_EVERY: u32 = 10;

/// Tells who asked for it how many of the documents have been read.
async fn tell(context: &RequestContext<RoleServer>, documents: usize) {
    let Some(token) = context.meta.get_progress_token() else { return };
    let all = u32::try_from(documents).unwrap_or(u32::MAX);
    let steps = (TELLS_EVERY..all).step_by(usize::try_from(TELLS_EVERY).unwrap_or(usize::MAX));
    for done in steps.chain([all]) {
        let told = ProgressNotificationParam::new(token.clone(), f64::from(done)).with_total(f64::from(all));
        if context.peer.notify_progress(told).await.is_err() {
            return;
        }
    }
}

/// Serves the book.
#[derive(Clone)]
pub(super) struct Tools {
    book: Book,
    tool_router: ToolRouter<Self>,
}

#[tool_router(router = tool_router)]
impl Tools {
    pub(super) fn new(book: Book) -> Self {
        Self { book, tool_router: Self::tool_router() }
    }

    #[tool(name = "contracts.read", description = "All documents of one contract: metadata, terms, billing.")]
    async fn contracts_read(
        &self,
        Parameters(query): Parameters<ReadContracts>,
        context: RequestContext<RoleServer>,
    ) -> CallToolResult {
        let columns = [("customer_id", query.customer_id.as_str()), ("contract_id", query.contract_id.as_str())];
        let mut rows = self.book.contracts(&columns).await;
        if query.include_terms == Some(false) {
            for row in &mut rows {
                row.remove("terms");
            }
        }
        tell(&context, rows.len()).await;
        CallToolResult::structured(json!({ "contracts": rows }))
    }

    #[tool(name = "crm.read", description = "What the support team noted about a customer.")]
    async fn crm_read(&self, Parameters(query): Parameters<ReadNotes>) -> CallToolResult {
        CallToolResult::structured(json!({ "notes": self.book.notes(&query.customer_id).await }))
    }

    #[tool(name = "tickets.create", description = "Opens a ticket for the account team. Cannot be taken back.")]
    async fn tickets_create(&self, Parameters(wanted): Parameters<CreateTicket>) -> CallToolResult {
        let ticket = Ticket {
            ticket_id: String::new(),
            customer_id: wanted.customer_id,
            title: wanted.title,
            body: wanted.body,
            priority: wanted.priority.unwrap_or_else(|| "normal".to_owned()),
            status: "open".to_owned(),
        };
        match self.book.open_ticket(ticket).await {
            Ok(ticket) => CallToolResult::structured(json!({ "ticket": ticket })),
            Err(fault) => CallToolResult::error(vec![ContentBlock::text(fault.to_string())]),
        }
    }

    #[tool(name = "renewals.propose", description = "Sends an offer to renew a contract. Cannot be taken back.")]
    async fn renewals_propose(&self, Parameters(wanted): Parameters<ProposeRenewal>) -> CallToolResult {
        let ProposeRenewal { customer_id, contract_id, months } = wanted;
        let offer =
            json!({ "customer_id": customer_id, "contract_id": contract_id, "months": months, "status": "sent" });
        CallToolResult::structured(json!({ "offer": offer }))
    }

    #[tool(name = "billing.update", description = "Changes the plan of a customer's account.")]
    async fn billing_update(&self, Parameters(wanted): Parameters<UpdateBilling>) -> CallToolResult {
        match self.book.change_plan(&wanted.customer_id, &wanted.plan).await {
            Ok(account) => CallToolResult::structured(json!({ "account": account })),
            Err(fault) => CallToolResult::error(vec![ContentBlock::text(fault.to_string())]),
        }
    }

    #[tool(name = "contracts.export", description = "Every document of every contract, for the data warehouse.")]
    async fn contracts_export(&self, Parameters(query): Parameters<ExportContracts>) -> CallToolResult {
        let columns: Vec<_> = query.customer_id.iter().map(|customer| ("customer_id", customer.as_str())).collect();
        CallToolResult::structured(json!({ "contracts": self.book.contracts(&columns).await }))
    }
}

#[tool_handler(router = self.tool_router)]
impl ServerHandler for Tools {
    fn get_info(&self) -> ServerConfig {
        ServerConfig::new(ServerCapabilities::builder().enable_tools().build())
            .with_server_info(Implementation::new("acme-tools", env!("CARGO_PKG_VERSION")))
    }

    fn supported_protocol_versions(&self) -> Cow<'static, [ProtocolVersion]> {
        Cow::Borrowed(&[ProtocolVersion::V_2026_07_28])
    }
}
