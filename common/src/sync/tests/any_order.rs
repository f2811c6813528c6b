//! Whatever order messages come in, and however often, no number goes back.

use super::*;

#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Numbers {
    root: u64,
    directory: u64,
    activation: u64,
    epoch: u64,
    tick: u64,
    shard: u64,
}

impl Numbers {
    fn see(&mut self, output: &Output) {
        let rise = |old: &mut u64, new: u64| {
            assert!(new > *old, "{output:?} after {old}");
            *old = new;
        };
        match output {
            Output::Root { version, .. } => rise(&mut self.root, *version),
            Output::Directory { version, .. } => rise(&mut self.directory, *version),
            Output::Activation(activation) => rise(&mut self.activation, activation.number.0),
            Output::Revocations(update) => rise(&mut self.epoch, update.to.0),
            Output::TickAnswer(answer) => rise(&mut self.tick, answer.n.0),
            Output::Shard(offer) => rise(&mut self.shard, offer.version),
            _ => {}
        }
    }
}

/// Every message that an honest voter sends over three states, in order.
fn conversation() -> Vec<VoterMessage> {
    let (first, _, files) = state();
    let mut link = Link::new(first, Have::default(), files);
    let mut messages = Vec::new();
    for round in 0..3u64 {
        loop {
            let before = messages.len();
            while let Some(output) = link.subscriber.poll_output() {
                match output {
                    Output::Send(message) => drop(link.publisher.handle_message(message).unwrap()),
                    Output::Manifest { .. } => {
                        link.subscriber.manifest_verified(&link.files, BTreeMap::new(), T0).unwrap();
                    }
                    _ => {}
                }
            }
            for lane in Lane::OF_VOTER {
                if let Some(message) = link.publisher.poll(lane) {
                    link.subscriber.handle_message(message.clone(), T0).unwrap();
                    messages.push(message);
                }
            }
            if messages.len() == before {
                break;
            }
        }
        let (next, entries) = bundle(10 + u8::try_from(round).unwrap(), &[vec![5; 300]]);
        let mut state = state_with_revocations(4 + round);
        state.set_directory(6 + round, &PublishedObject::new(vec![b'd'; 10 + usize::try_from(round).unwrap()]));
        state.activate(activation(80 + round, "acme", &next), &PublishedBundle::new(&next));
        state.set_shard(edge(), tenant("acme"), api(), shard(4 + round));
        link.files = entries;
        link.publisher.update(Arc::new(state));
    }
    messages
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn d_5_no_order_and_no_repetition_makes_a_number_go_back(
        order in prop::collection::vec(any::<prop::sample::Index>(), 0..60),
    ) {
        let messages = conversation();
        let mut subscriber = Subscriber::new(identity(), Have::default(), BTreeSet::new(), T0);
        let mut seen = Numbers::default();
        let mut queue: VecDeque<_> = order.into_iter().map(|at| at.get(&messages).clone()).collect();
        queue.push_front(messages[0].clone());
        for message in queue {
            let outcome = subscriber.handle_message(message, T0);
            while let Some(output) = subscriber.poll_output() {
                seen.see(&output);
                if let Output::Manifest { .. } = output {
                    let (_, files) = bundle(10, &[vec![5; 300]]);
                    subscriber.manifest_verified(&files, BTreeMap::new(), T0).unwrap();
                }
            }
            if outcome.is_err() {
                break;
            }
        }
    }
}
