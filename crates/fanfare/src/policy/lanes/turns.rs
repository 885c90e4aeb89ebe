//! Turns: first among companies, then among a company's lanes.

use std::collections::{HashMap, VecDeque};

use crate::model::{CompanyId, EndpointId, LaneKey};

/// Who could send, in turn.
#[derive(Debug, Default)]
pub(super) struct Turns {
    /// Companies with a lane that could send; each is here once.
    line: VecDeque<CompanyId>,
    companies: HashMap<CompanyId, Company>,
}

#[derive(Debug, Default)]
struct Company {
    /// Its lanes that could send; each is here once.
    ready: VecDeque<EndpointId>,
    in_flight: usize,
}

impl Turns {
    /// Gives a lane that has no place one at the end of its company's line.
    pub(super) fn queue(&mut self, key: LaneKey) {
        let company = self.companies.entry(key.company).or_default();
        if company.ready.is_empty() {
            self.line.push_back(key.company);
        }
        company.ready.push_back(key.endpoint);
    }

    /// The lane whose turn it is, while `free` more attempts could be in flight; its company goes
    /// to the end of the line.
    ///
    /// A company may have as many in flight as it leaves free. However many hang, there is a place
    /// for the next company: the first gets half of all, the second half of the rest, and so on.
    pub(super) fn next(&mut self, free: usize) -> Option<EndpointId> {
        if free == 0 {
            return None;
        }
        for _ in 0..self.line.len() {
            let name = self.line.pop_front()?;
            let Some(company) = self.companies.get_mut(&name) else { continue };
            if company.in_flight >= free {
                self.line.push_back(name);
                continue;
            }
            let endpoint = company.ready.pop_front();
            if !company.ready.is_empty() {
                self.line.push_back(name);
            }
            return endpoint;
        }
        None
    }

    /// Does anybody wait for a place?
    pub(super) fn wait(&self) -> bool {
        !self.line.is_empty()
    }

    /// The lane whose turn it was had nothing to send.
    pub(super) fn passed(&mut self, company: CompanyId) {
        self.forget_if_idle(company);
    }

    /// An attempt for this company has begun.
    pub(super) fn began(&mut self, company: CompanyId) {
        self.companies.entry(company).or_default().in_flight += 1;
    }

    /// An attempt for this company has ended.
    pub(super) fn ended(&mut self, company: CompanyId) {
        if let Some(found) = self.companies.get_mut(&company) {
            found.in_flight -= 1;
        }
        self.forget_if_idle(company);
    }

    /// Takes every lane's place away.
    pub(super) fn clear(&mut self) {
        self.line.clear();
        self.companies.values_mut().for_each(|company| company.ready.clear());
    }

    fn forget_if_idle(&mut self, company: CompanyId) {
        let idle = |found: &Company| found.ready.is_empty() && found.in_flight == 0;
        if self.companies.get(&company).is_some_and(idle) {
            self.companies.remove(&company);
        }
    }

    /// How many companies are remembered.
    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.companies.len()
    }
}
