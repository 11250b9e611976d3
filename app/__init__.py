"""Crawldock: the Scrapinghub API over one database; HTTP faces, services, tables."""
