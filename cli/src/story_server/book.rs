//! The company's data: read from one JSON file, and written back to it when a ticket is opened.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use remit_common::limits::TOOL_BODY_BYTES_MAX;
use remit_common::net::env::Disk;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use tokio::sync::Mutex;

/// Tickets that the file may hold. A demo opens a few; a loop that runs wild must not fill the disk.
const TICKETS_MAX: usize = 10_000;

/// Everything the tools read. Rows stay as they are in the file: the server hides nothing.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Pages {
    contracts: Vec<Map<String, Value>>,
    notes: Vec<Map<String, Value>>,
    tickets: Vec<Ticket>,
    billing: Vec<Map<String, Value>>,
}

/// One opened ticket.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Ticket {
    pub(crate) ticket_id: String,
    pub(crate) customer_id: String,
    pub(crate) title: String,
    pub(crate) body: String,
    pub(crate) priority: String,
    pub(crate) status: String,
}

/// The data file cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BookFault {
    #[error("the data file `{0}` does not exist")]
    Missing(PathBuf),
    #[error("the data file is not the JSON document this server reads")]
    Malformed(#[from] serde_json::Error),
    #[error("the data file cannot be read or written")]
    Disk(#[from] std::io::Error),
    #[error("there are {TICKETS_MAX} tickets; this server opens no more")]
    Full,
    #[error("no account of customer `{0}`")]
    NoAccount(String),
}

/// The open data file.
#[derive(Clone)]
pub(crate) struct Book {
    path: Arc<Path>,
    disk: Arc<dyn Disk>,
    pages: Arc<Mutex<Pages>>,
}

impl Book {
    /// Reads the file.
    pub(crate) fn open(path: &Path, disk: Arc<dyn Disk>) -> Result<Self, BookFault> {
        let bytes = disk.read(path, TOOL_BODY_BYTES_MAX)?.ok_or_else(|| BookFault::Missing(path.to_owned()))?;
        let pages: Pages = serde_json::from_slice(&bytes)?;
        Ok(Self { path: path.into(), disk, pages: Arc::new(Mutex::new(pages)) })
    }

    /// All documents, or those whose columns have these values.
    pub(crate) async fn contracts(&self, columns: &[(&str, &str)]) -> Vec<Map<String, Value>> {
        select(&self.pages.lock().await.contracts, columns)
    }

    /// The support team's notes about a customer.
    pub(crate) async fn notes(&self, customer: &str) -> Vec<Map<String, Value>> {
        select(&self.pages.lock().await.notes, &[("customer_id", customer)])
    }

    /// Opens a ticket; it is in the file when this returns.
    pub(crate) async fn open_ticket(&self, mut ticket: Ticket) -> Result<Ticket, BookFault> {
        let mut pages = self.pages.lock().await;
        if pages.tickets.len() >= TICKETS_MAX {
            return Err(BookFault::Full);
        }
        ticket.ticket_id = format!("tick_{:04}", pages.tickets.len() + 1);
        let mut next = pages.clone();
        next.tickets.push(ticket.clone());
        self.keep(&mut pages, next)?;
        Ok(ticket)
    }

    /// Writes a new plan into a customer's account.
    pub(crate) async fn change_plan(&self, customer: &str, plan: &str) -> Result<Map<String, Value>, BookFault> {
        let mut pages = self.pages.lock().await;
        let mut next = pages.clone();
        let account = next
            .billing
            .iter_mut()
            .find(|row| row.get("customer_id").and_then(Value::as_str) == Some(customer))
            .ok_or_else(|| BookFault::NoAccount(customer.to_owned()))?;
        account.insert("plan".to_owned(), plan.into());
        let account = account.clone();
        self.keep(&mut pages, next)?;
        Ok(account)
    }

    fn keep(&self, pages: &mut Pages, next: Pages) -> Result<(), BookFault> {
        self.disk.replace(&self.path, &serde_json::to_vec_pretty(&next)?)?;
        *pages = next;
        Ok(())
    }
}

fn select(rows: &[Map<String, Value>], columns: &[(&str, &str)]) -> Vec<Map<String, Value>> {
    let has = |row: &&Map<String, Value>| {
        columns.iter().all(|(column, value)| row.get(*column).and_then(Value::as_str) == Some(value))
    };
    rows.iter().filter(has).cloned().collect()
}
