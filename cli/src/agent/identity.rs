//! Who the holder of the envelope is, where a file says so: an X.509-SVID, which the sidecar shows with each channel.
//!
//! Whether it counts is the edge's to say; what no edge could take is said here. Clause X-22.

use std::path::Path;

use remit_common::crypto::sign::PublicKey;
use remit_common::identity::{AgentSvid, svid_from_pem};
use remit_common::limits::CONFIG_BYTES_MAX;
use remit_common::net::env::Env;

use crate::failure::{Exit, Failure};
use crate::files;

/// The identity (DER) in a file, which has to be about this key.
pub(crate) fn read_identity(env: &Env, path: &Path, holder: &PublicKey) -> Result<Vec<u8>, Failure> {
    let pem = files::read(env, path, CONFIG_BYTES_MAX)?;
    let is_none = |why: &str| {
        Failure::new(Exit::Usage, format!("`{}` is no identity of an agent: {why}", path.display()))
            .hint("`remit identity issue` makes one in a mesh that `remit up` made, elsewhere SPIFFE does")
    };
    let der = svid_from_pem(&pem).ok_or_else(|| is_none("there is no certificate in PEM in it"))?;
    let svid = AgentSvid::parse(&der).map_err(|bad| is_none(&bad.to_string()))?;
    if svid.key() != holder {
        let message = format!(
            "`{}` says who {} is, by another key than the one that holds the envelope",
            path.display(),
            svid.id()
        );
        return Err(Failure::new(Exit::Failed, message)
            .reason("not_the_holder")
            .hint("an identity is issued for the key that is given with --key"));
    }
    Ok(der)
}
