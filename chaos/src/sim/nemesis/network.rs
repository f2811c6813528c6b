//! Episodes of the network. Only one at a time: healing the network ends all there is.

use std::time::Duration;

use super::Draft;
use super::book::{Span, Thing};
use crate::drill::action::{Fault, LinkQuality};
use crate::node::Node;

/// Who is cut off from whom, and which voters have no majority to talk to because of it.
struct Cut {
    from: Vec<Node>,
    to: Vec<Node>,
    one_way: bool,
    away: Vec<Node>,
    name: &'static str,
}

impl Draft<'_> {
    /// Cuts that come together, or come and go.
    pub(super) fn partition(&mut self) -> Option<&'static str> {
        let cut = self.cut()?;
        if cut.from.is_empty() || cut.to.is_empty() {
            return None;
        }
        let from = self.sometime();
        // Every so often the cut comes and goes faster than anybody can elect.
        let is_flapping = self.one_in(5);
        let mut at = from;
        let mut steps = Vec::new();
        for _ in 0..if is_flapping { 5 } else { 1 } {
            let long = if is_flapping { self.millis(100, 1_500) } else { self.partition_lasts() };
            let Cut { from, to, one_way, .. } = &cut;
            steps.push((at, Fault::Partition { from: from.clone(), to: to.clone(), one_way: *one_way }));
            steps.push((at + long, Fault::HealNetwork));
            at += long;
            if is_flapping {
                at += self.millis(50, 1_000);
            }
        }
        let span = Span { from, to: steps.last().map_or(at, |(at, _)| *at) };
        if !self.book.is_free(&Thing::Network, span) {
            return None;
        }
        self.book_voters(cut.away.into_iter().map(|node| (node, span)), self.majority_away_max)?;
        self.book.take(Thing::Network, span);
        for (at, fault) in steps {
            self.push(at, fault);
        }
        Some(cut.name)
    }

    fn partition_lasts(&mut self) -> Duration {
        match self.millis(0, 3).as_millis() {
            0 => self.millis(200, 2_000),
            1..=2 => self.millis(2_000, 8_000),
            _ => self.millis(8_000, 14_000),
        }
    }

    fn cut(&mut self) -> Option<Cut> {
        let (voters, edges) = (self.voters(), self.edges.clone());
        let others = |without: &[Node], of: &[Node]| -> Vec<Node> {
            of.iter().filter(|node| !without.contains(node)).cloned().collect()
        };
        let everybody: Vec<_> = voters.iter().chain(&edges).cloned().collect();
        let one_way = self.one_in(3);
        let cut = match self.millis(0, 7).as_millis() {
            0..=1 => {
                let voter = vec![self.voter()?];
                Cut {
                    to: others(&voter, &everybody),
                    away: voter.clone(),
                    from: voter,
                    one_way,
                    name: "isolated voter",
                }
            }
            2 => {
                // Hears the others, and is not heard: or the other way round.
                let voter = vec![self.voter()?];
                let rest = others(&voter, &voters);
                let (from, to) = if self.one_in(2) { (voter.clone(), rest) } else { (rest, voter.clone()) };
                Cut { from, to, one_way: true, away: voter, name: "one-way cut of a voter" }
            }
            3 => {
                // Both still talk to everybody else.
                let pair = self.some(&voters, 2);
                let (one, other) = (pair.first()?.clone(), pair.get(1)?.clone());
                Cut {
                    from: vec![one.clone()],
                    to: vec![other],
                    one_way,
                    away: vec![one],
                    name: "cut between two voters",
                }
            }
            4 => {
                // The smaller half of the voters, with some edges on its side.
                let count = voters.len().saturating_sub(1) / 2;
                let minority = self.some(&voters, count);
                let half = edges.len() / 2;
                let mut side = self.some(&edges, half);
                side.extend(minority.iter().cloned());
                Cut {
                    to: others(&side, &everybody),
                    from: side,
                    one_way: false,
                    away: minority,
                    name: "minority cut off",
                }
            }
            5 => {
                let regions: Vec<_> = self.roster.nodes.iter().filter_map(|member| member.region.clone()).collect();
                let region = self.pick(&regions)?;
                let members = self.roster.nodes.iter().filter(|member| member.region.as_ref() == Some(&region));
                let from = members.map(|member| member.node.clone()).collect();
                Cut { from, to: voters, one_way, away: Vec::new(), name: "region cut off" }
            }
            6 => {
                let edge = vec![self.edge()?];
                let (from, to) = if self.one_in(2) { (edge, voters) } else { (voters, edge) };
                Cut { from, to, one_way, away: Vec::new(), name: "edge cut off" }
            }
            _ => Cut { from: voters, to: edges, one_way, away: Vec::new(), name: "all edges cut off" },
        };
        Some(cut)
    }

    /// Slow, lossy, narrow links, or all of it.
    pub(super) fn bad_links(&mut self) -> Option<&'static str> {
        let (voters, edges) = (self.voters(), self.edges.clone());
        let everybody: Vec<_> = voters.iter().chain(&edges).cloned().collect();
        let (from, to) = match self.millis(0, 3).as_millis() {
            0 => (voters.clone(), voters),
            1 => (voters, edges),
            2 => (vec![self.victim()?], everybody),
            _ => (everybody.clone(), everybody),
        };
        let (at, long) = (self.sometime(), self.millis(2_000, 14_000));
        let span = Span { from: at, to: at + long };
        if from.is_empty() || to.is_empty() || !self.book.is_free(&Thing::Network, span) {
            return None;
        }
        let (quality, name) = self.quality();
        self.book.take(Thing::Network, span);
        self.push(at, Fault::Link { from, to, quality });
        self.push(span.to, Fault::HealNetwork);
        Some(name)
    }

    fn quality(&mut self) -> (LinkQuality, &'static str) {
        let good = LinkQuality::GOOD;
        let mut percent =
            |from: u64, to: u64| f64::from(u32::try_from(self.millis(from, to).as_millis()).unwrap_or(0)) / 100.0;
        let (loss, twice, late, wrong) = (percent(3, 25), percent(5, 40), percent(5, 40), percent(1, 10));
        let far = LinkQuality { latency: self.millis(20, 120), jitter: self.millis(0, 60), ..good };
        match self.millis(0, 5).as_millis() {
            0 => (far, "far"),
            1 => (LinkQuality { loss, ..good }, "lossy"),
            2 => (LinkQuality { duplicate: twice, reorder: late, ..good }, "doubled and reordered"),
            3 => (LinkQuality { corrupt: wrong, ..good }, "corrupting"),
            4 => {
                let rate = Some(self.random_rate());
                (LinkQuality { rate, ..good }, "narrow")
            }
            _ => (
                LinkQuality {
                    loss: loss / 2.0,
                    duplicate: twice / 2.0,
                    reorder: late / 2.0,
                    corrupt: wrong / 4.0,
                    ..far
                },
                "all of it",
            ),
        }
    }

    /// Bytes a second: from a bad mobile phone to a bad line.
    fn random_rate(&mut self) -> u64 {
        u64::try_from(self.millis(40, 500).as_millis()).unwrap_or(500) * 1_000
    }
}
