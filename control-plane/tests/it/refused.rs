//! Every bundle of the table is refused by voters, who say where it is wrong, and what was active stays active.

use remit_common::bundle::BuildOverrides;
use remit_control_plane::registry::{Applied, Refusal};

use crate::bad_bundles::{Bad, TABLE, container, files, good};
use crate::world::{MESH, NOW, OPS, Replica, key, reason, request, tenant};

fn signed(files: &crate::bad_bundles::Files, version: u64) -> Vec<u8> {
    let overrides = BuildOverrides { created: Some(NOW), mesh_id: Some(MESH), version: Some(version), fallback: None };
    let mut bundle = container(files, &overrides);
    [6, 7].iter().for_each(|seed| bundle.add_signature(&key(*seed)));
    bundle.to_bytes()
}

#[test]
fn voters_refuse_what_is_wrong_and_say_where() {
    let mut replica = Replica::new();
    let mut nonce = 0;
    let mut publish = |replica: &mut Replica, container: Vec<u8>| {
        nonce += 1;
        replica.admin(request(OPS, "/v1/bundles", container, NOW, nonce), NOW)
    };
    assert_eq!(reason(&publish(&mut replica, signed(&good(), 7))), "bundle");
    let active = *replica.state.active(&tenant("acme")).unwrap().digest();
    let mut refused = 0;
    for bad in TABLE {
        let Bad { name, says: Some(says), .. } = bad else { continue };
        match publish(&mut replica, signed(&files(bad), 8)) {
            Applied::Refused(Refusal { detail, .. }) => assert!(detail.contains(says), "{name}: `{says}`: {detail}"),
            other => panic!("{name}: {other:?}"),
        }
        assert_eq!(*replica.state.active(&tenant("acme")).unwrap().digest(), active, "{name}");
        refused += 1;
    }
    assert!(refused >= 25, "only {refused} bundles were published");
    assert_eq!(reason(&publish(&mut replica, signed(&good(), 8))), "bundle", "the next good one is taken");
}
