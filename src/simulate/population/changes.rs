//! New phones, new versions, other networks, other cities, weeks away.

use super::context::Context;
use super::habits::Scene;
use super::kinds::Oddity;
use super::person;
use super::resident::{After, Resident, Step, minutes};
use super::server::{DAY, HOUR, MINUTE};
use super::whereabouts::Trip;

impl Resident {
    pub(super) fn change_phone(&mut self, scene: &Scene) {
        let keeps_device_id = scene.oddity == Oddity::OldPhone || self.random.below(5) > 0;
        let new_id = person::device_id(&mut self.random);
        let phone = &mut self.installations[scene.installation];
        phone.agent = phone.agent.updated();
        phone.oddity = Some(scene.oddity);
        if !keeps_device_id {
            phone.device = Some(new_id);
        }
        if scene.oddity == Oddity::OldPhone {
            let net = self.home.own_net();
            let drawer = Context {
                net,
                address: net.address(u64::from(self.index), 1),
                ..scene.context.clone()
            };
            let days = self.random.from_to(6 * HOUR, 8 * DAY);
            self.come_again(scene, scene.at + days, Some(drawer), After::Nothing);
        }
    }

    pub(super) fn update(&mut self, scene: &Scene) {
        let one = &mut self.installations[scene.installation];
        one.agent = one.agent.updated();
        one.oddity = Some(Oddity::Update);
    }

    pub(super) fn move_about(&mut self, scene: &Scene) {
        let (at, random) = (scene.at, &mut self.random);
        match scene.oddity {
            Oddity::TrainRide => {
                self.away.train_until = at + minutes(random, 50, 150);
                self.clear(scene.installation);
                self.plan(at + MINUTE, Step::Use(scene.installation));
            }
            Oddity::ConsumerVpn => self.away.vpn_until = at + random.from_to(2 * HOUR, 9 * HOUR),
            Oddity::CorporateVpn => self.away.corporate_until = at + 9 * HOUR,
            _ => self.away.trip = Some(Trip::new(&self.home, at, random)),
        }
    }

    /// Nothing is heard for days or weeks; of a television, from a holiday flat in another city meanwhile.
    pub(super) fn go_away(&mut self, scene: &Scene) {
        if scene.oddity == Oddity::TravellingStick {
            let trip = Trip::new(&self.home, scene.at, &mut self.random);
            let there = Context {
                net: &trip.city.lobby,
                address: trip.city.lobby.address(u64::from(self.index), 1),
                ..scene.context.clone()
            };
            for evening in 0..3 {
                let at = trip.landed + evening * 20 * HOUR + HOUR;
                if at < trip.leaves {
                    self.come_again(scene, at, Some(there.clone()), After::Nothing);
                }
            }
            self.clear(scene.installation);
            return self.plan(trip.home + HOUR, Step::Use(scene.installation));
        }
        let weeks = self.random.from_to(8 * DAY, 45 * DAY);
        for installation in 0..self.installations.len() {
            self.clear(installation);
            let thing = self.installations[installation].thing;
            let back = self.home.next_use(thing, scene.at, weeks, &mut self.random);
            self.plan(back, Step::Use(installation));
        }
    }
}
