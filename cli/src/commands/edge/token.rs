//! `remit edge token`: the tokens by which edges join. The secret is made here; the voters are told the digest of its public key.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use clap::Subcommand;
use remit_chaos::launcher::MeshFile;
use remit_common::crypto::digest::Digest;
use remit_common::id::{EdgeId, Region, VoterId};
use remit_common::identity::certificate::key_pin;
use remit_common::identity::{JoinToken, TokenSecret};
use remit_common::limits::DOCUMENT_BYTES_MAX;
use remit_common::net::tls;
use remit_common::trust::root::SignedRoot;
use remit_control_plane::admin::model::{JoinTokens, TokenChanged};
use remit_control_plane::registry::{TOKEN_LIFE_MAX, TOKEN_USES_MAX, TokenRequest};
use serde_json::json;
use zeroize::Zeroizing;

use crate::admin::Admin;
use crate::context::Context;
use crate::failure::{Exit, Failure};
use crate::files;

/// Where tokens are asked for and read.
const TOKENS: &str = "/v1/join-tokens";
/// Bytes of a file of certificates.
const CERTIFICATES_BYTES_MAX: usize = 64 * 1024;

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Example:
  remit edge token create --region eu-west --name eu-west-7 --ttl 10m --uses 1 -o eu-west-7.token
  remit edge token ls
  remit edge token revoke 5f0c…

A token says by which first root and which voters' authority the edge recognises its mesh. Whoever has it can join as
that edge; joining is not serving: that takes a directory that lists the edge.")]
pub(crate) struct Args {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Make a token for one edge
    Create {
        /// Where the edge is to stand
        #[arg(long)]
        region: Region,
        /// Which edge
        #[arg(long, value_name = "EDGE")]
        name: EdgeId,
        /// How long it counts: `10m`, `2h`, at most `7days`
        #[arg(long, value_name = "TIME", default_value = "10m")]
        ttl: humantime::Duration,
        /// How often it counts: once, and more for an edge that may have to begin again with new keys
        #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=i64::from(TOKEN_USES_MAX)))]
        uses: u32,
        /// The voters' authority, PEM, if it is not `voters-ca.pem` beside the mesh's root
        #[arg(long, value_name = "FILE")]
        voters_ca: Option<PathBuf>,
        /// Where a voter takes edges in, `ID=ADDR`, as edges reach it; if none is named, the voters are asked
        #[arg(long = "voter", value_name = "ID=ADDR")]
        voters: Vec<Place>,
        /// Write the token to this file, for its owner alone, instead of showing it
        #[arg(short, long, value_name = "FILE")]
        output: Option<PathBuf>,
    },
    /// Show the tokens that count, without their secrets
    Ls,
    /// Take a token back
    Revoke {
        /// Which: its id, as `ls` shows it
        token: Digest,
    },
}

/// `ID=ADDR`.
#[derive(Debug, Clone)]
struct Place(VoterId, SocketAddr);

impl FromStr for Place {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (id, addr) = text.split_once('=').ok_or("it has to be ID=ADDR, like 1=10.0.0.1:7431")?;
        let id = id.parse().map(VoterId).map_err(|_| format!("`{id}` is no voter's number"))?;
        let addr = addr.parse().map_err(|_| format!("`{addr}` is no address with a port"))?;
        Ok(Self(id, addr))
    }
}

pub(super) async fn run(args: &Args, context: &Context) -> Result<Exit, Failure> {
    let mesh = context.mesh()?;
    let admin = Admin::new(context, &mesh)?;
    match &args.verb {
        Verb::Create { region, name, ttl, uses, voters_ca, voters, output } => {
            let authority = voters_ca.clone().unwrap_or_else(|| mesh.root.with_file_name("voters-ca.pem"));
            let secret = TokenSecret::new(Zeroizing::new(context.env.random()))
                .map_err(|error| Failure::caused(Exit::Failed, &error))?;
            let token = JoinToken {
                mesh: mesh.mesh_id,
                root: first_root(context, &mesh)?,
                voters_authority: pin(context, &authority)?,
                region: region.clone(),
                edge: name.clone(),
                voters: places(&admin, &mesh, voters).await?,
                secret,
            };
            create(context, &admin, &token, ((*ttl).into(), *uses), output.as_deref()).await
        }
        Verb::Ls => ls(context, &admin).await,
        Verb::Revoke { token } => {
            let changed: TokenChanged = admin.post(TOKENS, body(&TokenRequest::Revoke { token: *token })?).await?;
            context.output.document(&changed);
            context.output.line(format!("token {token} does not count any more"));
            Ok(Exit::Done)
        }
    }
}

fn body(request: &TokenRequest) -> Result<Vec<u8>, Failure> {
    serde_json::to_vec(request).map_err(|error| Failure::caused(Exit::Failed, &error))
}

async fn create(
    context: &Context,
    admin: &Admin,
    token: &JoinToken,
    (life, uses): (Duration, u32),
    output: Option<&Path>,
) -> Result<Exit, Failure> {
    if life < Duration::from_secs(1) || life > TOKEN_LIFE_MAX {
        return Err(Failure::new(Exit::Usage, "a token counts for a second to seven days"));
    }
    let (id, region, edge) = (token.secret.id(), token.region.clone(), token.edge.clone());
    let request = TokenRequest::Create { token: id, region, edge: edge.clone(), lifetime_secs: life.as_secs(), uses };
    let made: TokenChanged = admin.post(TOKENS, body(&request)?).await.map_err(advise)?;
    let text = token.to_text();
    let expires = made.expires.map(|expires| expires.to_string());
    let mut document = json!({
        "id": id, "region": token.region, "edge": edge, "expires": expires, "uses": uses,
        "voters": token.voters, "index": made.index,
    });
    let until = expires.unwrap_or_default();
    match output {
        Some(path) => {
            files::write(&context.env, path, format!("{}\n", text.as_str()).as_bytes())?;
            if let Some(document) = document.as_object_mut() {
                document.insert("file".to_owned(), json!(path));
            }
            context.output.line(format!("the token for {edge} is in `{}`; it counts until {until}", path.display()));
        }
        None => {
            if let Some(document) = document.as_object_mut() {
                document.insert("token".to_owned(), json!(text.as_str()));
            }
            context.output.line(text.as_str());
        }
    }
    context.output.document(&document);
    Ok(Exit::Done)
}

fn advise(failure: Failure) -> Failure {
    match failure.reason.as_deref() {
        Some("verb_not_permitted") => failure.hint("the directory has to list this administrator with `enrol-edge`"),
        Some("too_many_tokens") => {
            failure.hint("`remit edge token ls` shows them, `remit edge token revoke` takes one back")
        }
        _ => failure,
    }
}

async fn ls(context: &Context, admin: &Admin) -> Result<Exit, Failure> {
    let tokens: JoinTokens = admin.get(TOKENS).await?;
    context.output.document(&tokens);
    let rows = tokens.tokens.iter().map(|token| {
        let by = token.by_name.clone().unwrap_or_else(|| token.by.to_string());
        let [edge, region] = [token.edge.to_string(), token.region.to_string()];
        [
            edge,
            region,
            format!("{} of {}", token.used, token.uses),
            token.expires.to_string(),
            by,
            token.token.to_string(),
        ]
    });
    context.output.table(["edge", "region", "used", "until", "made by", "id"], rows);
    Ok(Exit::Done)
}

/// The digest of the root that this mesh began with, as this machine has it: no voter is asked.
fn first_root(context: &Context, mesh: &MeshFile) -> Result<Digest, Failure> {
    let bytes = files::read(&context.env, &mesh.root, DOCUMENT_BYTES_MAX)?;
    let root = SignedRoot::parse(&bytes).map_err(|error| Failure::caused(Exit::Usage, &error))?;
    let digest = root.digest();
    root.verify_pinned(&digest, &mesh.mesh_id).map_err(|error| Failure::caused(Exit::Usage, &error))?;
    Ok(digest)
}

fn pin(context: &Context, path: &Path) -> Result<Digest, Failure> {
    let pem = files::read(&context.env, path, CERTIFICATES_BYTES_MAX)?;
    let unusable = |error: &dyn std::error::Error| {
        Failure::new(Exit::Usage, format!("`{}` is no certificate of an authority: {error}", path.display()))
    };
    let certificates = tls::certificates(&pem, "voters' authority").map_err(|error| unusable(&error))?;
    let [certificate] = certificates.as_slice() else {
        let message = format!("`{}` holds more than one certificate", path.display());
        return Err(
            Failure::new(Exit::Usage, message).hint("name a file with the one that voters' certificates are of")
        );
    };
    key_pin(certificate).map_err(|error| unusable(&error))
}

/// Where voters take edges in: as they were named, or as they say.
async fn places(admin: &Admin, mesh: &MeshFile, named: &[Place]) -> Result<BTreeMap<VoterId, SocketAddr>, Failure> {
    let mut places: BTreeMap<VoterId, SocketAddr> = named.iter().map(|Place(id, addr)| (*id, *addr)).collect();
    if !places.is_empty() {
        return Ok(places);
    }
    let mut unspecified = false;
    for voter in &mesh.voters {
        let told = admin.get_from::<JoinTokens>(&voter.admin, &format!("{TOKENS}?consistency=stale")).await;
        match told.ok().and_then(|told| told.enrol.map(|at| (told.voter, at))) {
            Some((_, at)) if at.ip().is_unspecified() => unspecified = true,
            Some((voter, at)) => drop(places.insert(voter, at)),
            None => {}
        }
    }
    if places.is_empty() {
        let why =
            if unspecified { "voters do not say by which address they are reached" } else { "no voter takes edges in" };
        return Err(Failure::new(Exit::Failed, why).hint(
            "name where voters are reached with `--voter ID=ADDR`; a voter takes edges in if its configuration has `[enrolment]`",
        ));
    }
    Ok(places)
}
