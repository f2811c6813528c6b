//! The file that holds an envelope: JSON, so that people can see which mesh it is for. Clause U-2.

use std::path::Path;

use remit_common::crypto::digest::Digest;
use remit_common::envelope::RawPresentation;
use remit_common::id::MeshId;
use remit_common::limits::PRESENTATION_BYTES_MAX;
use remit_common::net::env::Env;
use remit_common::text;
use serde::{Deserialize, Serialize};

use crate::failure::{Exit, Failure};
use crate::files;

/// The version of the file's own shape.
const VERSION: u32 = 1;
/// Bytes of a file: base64 is a third longer, and there are a few names around it.
const FILE_BYTES_MAX: usize = PRESENTATION_BYTES_MAX * 4 / 3 + 1_024;

/// The file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct EnvelopeFile {
    v: u32,
    /// The mesh whose issuers signed it.
    pub(crate) mesh_id: MeshId,
    /// The root document by which that mesh is known.
    pub(crate) root_sha256: Digest,
    /// base64url, as the `Remit-Envelope` header carries it.
    pub(crate) presentation: String,
}

impl EnvelopeFile {
    pub(crate) fn new(mesh_id: MeshId, root_sha256: Digest, presentation: &[u8]) -> Self {
        Self { v: VERSION, mesh_id, root_sha256, presentation: text::base64url(presentation) }
    }

    pub(crate) fn read(env: &Env, path: &Path) -> Result<Self, Failure> {
        let bytes = files::read(env, path, FILE_BYTES_MAX)?;
        let not_one =
            |why: String| Failure::new(Exit::Usage, format!("`{}` is no envelope file: {why}", path.display()));
        let file: Self = serde_json::from_slice(&bytes).map_err(|error| not_one(error.to_string()))?;
        if file.v != VERSION {
            return Err(not_one(format!("version {} is not known here", file.v)));
        }
        Ok(file)
    }

    pub(crate) fn write(&self, env: &Env, path: &Path) -> Result<(), Failure> {
        let json = serde_json::to_string_pretty(self).unwrap_or_default();
        files::write(env, path, format!("{json}\n").as_bytes())
    }

    /// The presentation's bytes.
    pub(crate) fn bytes(&self) -> Result<Vec<u8>, Failure> {
        text::from_base64url(&self.presentation)
            .ok_or_else(|| Failure::new(Exit::Usage, "the presentation in the envelope file is not base64url"))
    }

    /// The presentation, its shape checked and nothing else.
    pub(crate) fn parse(&self) -> Result<RawPresentation, Failure> {
        RawPresentation::parse(&self.bytes()?).map_err(|error| Failure::caused(Exit::Failed, &error))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Clause U-2.
    #[test]
    fn an_envelope_file_is_this_json() {
        let file = EnvelopeFile::new(MeshId([1; 16]), Digest([2; 32]), &[0xff, 0xfe]);
        let json = format!(
            r#"{{"v":1,"mesh_id":"{}","root_sha256":"{}","presentation":"__4"}}"#,
            "01".repeat(16),
            "02".repeat(32)
        );
        assert_eq!(serde_json::to_string(&file).unwrap(), json);
        assert_eq!(serde_json::from_str::<EnvelopeFile>(&json).unwrap(), file);
        assert_eq!(file.bytes().unwrap(), [0xff, 0xfe]);
        assert!(file.parse().is_err());
        assert!(serde_json::from_str::<EnvelopeFile>(&json.replace("\"v\"", "\"x\":0,\"v\"")).is_err());
    }
}
