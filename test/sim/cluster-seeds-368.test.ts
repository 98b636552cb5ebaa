import { slice } from './cluster-slice.ts';

slice(368, 500);
