import { slice } from './cluster-slice.ts';

slice(235, 367);
