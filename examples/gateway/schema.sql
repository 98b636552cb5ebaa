-- What breakwater.yaml beside it shows. Versions are drawn from one sequence, so that no row ever has the same version twice, also after it was deleted and
-- inserted again; the trigger draws one for every update, also for those that are made in SQL behind the gateway's back.
CREATE SEQUENCE product_version;

CREATE TABLE product (
  id bigint PRIMARY KEY,
  name text NOT NULL CHECK (name <> ''),
  price numeric(10, 2) NOT NULL,
  org bigint NOT NULL,
  version bigint NOT NULL DEFAULT nextval('product_version')
);

CREATE FUNCTION product_next_version() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  NEW.version := nextval('product_version');
  RETURN NEW;
END $$;

CREATE TRIGGER product_version BEFORE UPDATE ON product FOR EACH ROW EXECUTE FUNCTION product_next_version();

CREATE TABLE purchase (
  id bigint PRIMARY KEY,
  product bigint NOT NULL REFERENCES product (id),
  quantity integer NOT NULL,
  placed_at timestamptz NOT NULL DEFAULT now()
);

-- The row before a change is told as a whole, so that a purchase that moves to another product changes exactly two summaries.
ALTER TABLE purchase REPLICA IDENTITY FULL;

CREATE TABLE page_views (page text PRIMARY KEY, views bigint NOT NULL);

INSERT INTO product (id, name, price, org)
  SELECT i, 'product ' || i, i + 0.99, i % 10 FROM generate_series(1, 1000) AS i;
INSERT INTO purchase (id, product, quantity) SELECT i, i, 1 + i % 3 FROM generate_series(1, 100) AS i;
