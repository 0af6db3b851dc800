//! The one table of events and fields: what is written, documented and tested comes from here.
