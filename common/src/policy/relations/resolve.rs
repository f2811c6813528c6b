//! From names to numbers: every name in a model is one of the model, and every relation can hold for somebody.

use std::collections::{BTreeMap, BTreeSet};

use super::fga::{DirectSyntax, ExprSyntax, Name, RelationSyntax, TypeSyntax};
use super::schema::{
    Direct, Expr, RELATIONS_MAX, RelationDef, RelationId, RelationSchema, TYPES_MAX, TypeDef, TypeId, Unfit,
};
use crate::policy::fault::{PolicyFault, Source};

struct Resolver<'a> {
    source: &'a Source<'a>,
    schema: RelationSchema,
    /// Who may stand in a relation, known before any expression is.
    direct: Vec<Vec<Direct>>,
    /// Whether a relation is a list of types and nothing else.
    plain: Vec<bool>,
    faults: Vec<PolicyFault>,
}

pub(super) fn resolve(source: &Source<'_>, types: &[TypeSyntax]) -> Result<RelationSchema, Vec<PolicyFault>> {
    let relations = types.iter().map(|of| of.relations.len()).sum::<usize>();
    if types.len() > TYPES_MAX || relations > RELATIONS_MAX {
        let most = format!("a relation model has at most {TYPES_MAX} types and {RELATIONS_MAX} relations");
        return Err(vec![source.fault(0, most)]);
    }
    let schema = RelationSchema { types: Vec::new(), relations: Vec::new(), by_name: BTreeMap::new() };
    let mut resolver = Resolver { source, schema, direct: Vec::new(), plain: Vec::new(), faults: Vec::new() };
    resolver.declare(types);
    if resolver.faults.is_empty() {
        resolver.define(types);
    }
    if resolver.faults.is_empty() {
        resolver.check_reachable(types);
    }
    let Resolver { mut schema, faults, .. } = resolver;
    if !faults.is_empty() {
        return Err(faults);
    }
    let pure = pure(&schema);
    for (relation, pure) in schema.relations.iter_mut().zip(pure) {
        relation.pure = pure;
    }
    Ok(schema)
}

impl Resolver<'_> {
    fn twice(&mut self, name: &Name, what: &str) {
        self.faults.push(self.source.fault(name.at.start, format!("{what} `{}` stands here twice", name.text)));
    }

    fn declare(&mut self, types: &[TypeSyntax]) {
        let (mut kind, mut relation): (TypeId, RelationId) = (0, 0);
        for of in types {
            let mut relations = BTreeMap::new();
            for defined in &of.relations {
                if relations.insert(defined.name.text.clone(), relation).is_some() {
                    self.twice(&defined.name, "relation");
                }
                let name = defined.name.text.clone();
                let def = RelationDef { name, kind, direct: Vec::new(), expr: Expr::This, pure: true };
                self.schema.relations.push(def);
                relation += 1;
            }
            if self.schema.by_name.insert(of.name.text.clone(), kind).is_some() {
                self.twice(&of.name, "type");
            }
            self.schema.types.push(TypeDef { name: of.name.text.clone(), relations });
            kind += 1;
        }
    }

    fn define(&mut self, types: &[TypeSyntax]) {
        let defined = || types.iter().flat_map(|of| of.relations.iter().map(move |relation| (of, relation)));
        for (_, relation) in defined() {
            let direct = relation.direct.iter().filter_map(|direct| self.direct(direct)).collect();
            self.direct.push(direct);
            let objects = relation.direct.iter().all(|direct| matches!(direct, DirectSyntax::Object(_)));
            self.plain.push(objects && matches!(relation.expr, ExprSyntax::This));
        }
        let exprs: Vec<Option<Expr>> =
            defined().map(|(of, relation)| self.expr(&of.name.text, &relation.expr)).collect();
        let direct = std::mem::take(&mut self.direct);
        for ((def, expr), direct) in self.schema.relations.iter_mut().zip(exprs).zip(direct) {
            (def.expr, def.direct) = (expr.unwrap_or(Expr::This), direct);
        }
    }

    fn direct(&mut self, direct: &DirectSyntax) -> Option<Direct> {
        match direct {
            DirectSyntax::Object(kind) => self.kind(kind).map(Direct::Object),
            DirectSyntax::Everyone(kind) => self.kind(kind).map(Direct::Everyone),
            DirectSyntax::Userset(kind, relation) => {
                self.kind(kind)?;
                self.relation(&kind.text, relation).map(Direct::Userset)
            }
        }
    }

    fn kind(&mut self, name: &Name) -> Option<TypeId> {
        let found = self.schema.kind(&name.text);
        self.known(name, found)
    }

    fn relation(&mut self, kind: &str, name: &Name) -> Option<RelationId> {
        let found = self.schema.relation(kind, &name.text);
        self.known(name, found)
    }

    fn known<T>(&mut self, name: &Name, found: Result<T, Unfit>) -> Option<T> {
        found.map_err(|unfit| self.faults.push(self.source.fault(name.at.start, unfit.to_string()))).ok()
    }

    fn expr(&mut self, kind: &str, expr: &ExprSyntax) -> Option<Expr> {
        Some(match expr {
            ExprSyntax::This => Expr::This,
            ExprSyntax::Computed(name) => Expr::Computed(self.relation(kind, name)?),
            ExprSyntax::Arrow { relation, via } => self.arrow(kind, relation, via)?,
            ExprSyntax::Union(parts) => Expr::Union(self.parts(kind, parts)?),
            ExprSyntax::Intersection(parts) => Expr::Intersection(self.parts(kind, parts)?),
            ExprSyntax::Exclusion(base, without) => {
                let (base, without) = (self.expr(kind, base), self.expr(kind, without));
                Expr::Exclusion(base?.into(), without?.into())
            }
        })
    }

    fn parts(&mut self, kind: &str, parts: &[ExprSyntax]) -> Option<Vec<Expr>> {
        let parts: Vec<Option<Expr>> = parts.iter().map(|part| self.expr(kind, part)).collect();
        parts.into_iter().collect()
    }

    fn arrow(&mut self, kind: &str, relation: &Name, via: &Name) -> Option<Expr> {
        let leads = self.relation(kind, via)?;
        // Were there another way to stand in it than a tuple that names an object, nobody would go that way.
        if !self.plain.get(usize::from(leads)).is_some_and(|plain| *plain) {
            let message = format!("`{}` is more than a list of types, and `from` follows tuples alone", via.text);
            let help = format!("define `{}: [type, …]`, without relations of others and without `:*`", via.text);
            self.faults.push(self.source.advise(&via.at, message, help));
            return None;
        }
        let mut to = Vec::new();
        for direct in self.direct.get(usize::from(leads)).into_iter().flatten() {
            let Direct::Object(other) = direct else { continue };
            let target = self.schema.types.get(usize::from(*other)).and_then(|of| of.relations.get(&relation.text));
            to.extend(target.map(|target| (*other, *target)));
        }
        if to.is_empty() {
            let message = format!("nothing that `{}` leads to has a relation `{}`", via.text, relation.text);
            let help = format!("`{}` names types directly, `[folder]`, and one of them defines it", via.text);
            self.faults.push(self.source.advise(&relation.at, message, help));
            return None;
        }
        Some(Expr::Arrow { via: leads, to })
    }

    /// A relation in which nobody could ever stand would deny everything silently.
    fn check_reachable(&mut self, types: &[TypeSyntax]) {
        let mut reachable = BTreeSet::new();
        loop {
            let more: Vec<RelationId> = self
                .schema
                .numbered()
                .filter(|(id, def)| !reachable.contains(id) && can_hold(&def.expr, def, &reachable))
                .map(|(id, _)| id)
                .collect();
            if more.is_empty() {
                break;
            }
            reachable.extend(more);
        }
        let defined = (0..).zip(types.iter().flat_map(|of| &of.relations));
        for (_, RelationSyntax { name, .. }) in defined.filter(|(id, _): &(RelationId, _)| !reachable.contains(id)) {
            let message = format!("nobody can ever stand in relation `{}`", name.text);
            let help = "no tuple leads to it: give it, or something that it follows from, a type in `[…]`";
            self.faults.push(self.source.advise(&name.at, message, help));
        }
    }
}

fn can_hold(expr: &Expr, def: &RelationDef, reachable: &BTreeSet<RelationId>) -> bool {
    match expr {
        Expr::This => def.direct.iter().any(|direct| match direct {
            Direct::Object(_) | Direct::Everyone(_) => true,
            Direct::Userset(id) => reachable.contains(id),
        }),
        Expr::Computed(id) => reachable.contains(id),
        Expr::Arrow { via, to } => reachable.contains(via) && to.iter().any(|(_, id)| reachable.contains(id)),
        Expr::Union(parts) => parts.iter().any(|part| can_hold(part, def, reachable)),
        Expr::Intersection(parts) => parts.iter().all(|part| can_hold(part, def, reachable)),
        Expr::Exclusion(base, _) => can_hold(base, def, reachable),
    }
}

/// Which relations a search decides: nothing that they follow from is an intersection or an exclusion.
fn pure(schema: &RelationSchema) -> Vec<bool> {
    let mut pure = vec![true; schema.relations.len()];
    loop {
        let is_pure = |id: &RelationId| pure.get(usize::from(*id)).copied().unwrap_or(false);
        let holds = |def: &RelationDef| {
            let mut holds = true;
            def.expr.walk(&mut |part| {
                holds &= match part {
                    Expr::This => def.direct.iter().all(|direct| match direct {
                        Direct::Userset(id) => is_pure(id),
                        Direct::Object(_) | Direct::Everyone(_) => true,
                    }),
                    Expr::Computed(id) => is_pure(id),
                    Expr::Arrow { to, .. } => to.iter().all(|(_, id)| is_pure(id)),
                    Expr::Union(_) => true,
                    Expr::Intersection(_) | Expr::Exclusion(..) => false,
                }
            });
            holds
        };
        let next: Vec<bool> = schema.relations.iter().map(holds).collect();
        if next == pure {
            return pure;
        }
        pure = next;
    }
}
