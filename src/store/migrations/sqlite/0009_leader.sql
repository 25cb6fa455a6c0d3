-- By which metrics tell one store from another. Who leads needs no table here: a lock keeps every other daemon out.
INSERT INTO meta (name, value) VALUES ('store_id', lower(hex(randomblob(4))));
