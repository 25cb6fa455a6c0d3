//! Looked at once more before an action is performed: the world may have changed since it was decided or approved.

use crate::model::Text;
use crate::store::{Finish, FinishState, LeasedAction, StoreError};

use super::Performers;
use super::perform::too_old;
use super::worker::Worker;

impl Worker {
    /// Why the action is not performed, if so.
    pub(super) async fn recheck(
        &self,
        leased: &LeasedAction,
        performers: &Performers,
    ) -> Result<Option<Finish>, StoreError> {
        let action = &leased.action;
        // However old, and whatever the mode: what was done for a while is not to stay.
        if action.undoes.is_some() {
            return Ok(None);
        }
        let leave = |why: &str| Ok(Some(Finish::new(action, FinishState::Suppressed, why)));
        if performers.performs_nothing && leased.attempts == 0 {
            return leave("the daemon's mode is below enforce by now");
        }
        let never = |user: &Text| performers.never_act_on.contains(user);
        if action.target.user_id.as_ref().is_some_and(never) {
            return leave("the user is on the list of those never to be acted on");
        }
        if let Some(why) = (action.target.network.as_deref())
            .and_then(|network| performers.shared.why_not(network, None))
        {
            return leave(&why);
        }
        if leased.approved
            && action.kind.ends_something()
            && self.store.done_meanwhile(action).await?
        {
            return leave("the same was done already, since it was decided");
        }
        Ok(too_old(leased, performers.act_within, self.now()))
    }
}
