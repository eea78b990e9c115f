"""Real servers, certificates and injected faults that the tests stand on; no test lives here."""
